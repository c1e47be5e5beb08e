import { join } from "node:path";

export default { outputFileTracingRoot: join(import.meta.dirname, "..") };
