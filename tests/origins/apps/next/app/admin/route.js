import { served } from "../../served";

export const dynamic = "force-dynamic";
export const { GET, POST, PUT, PATCH, DELETE } = served("ADMIN", "/admin");
