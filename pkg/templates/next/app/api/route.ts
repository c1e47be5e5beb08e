import { currentTenant } from "../../tenant";

export async function GET() {
  const { slug } = await currentTenant();
  return Response.json({ tenant: slug });
}
