import { FeatureProvider } from "tenantgate/react";
import { currentTenant } from "../tenant";

export default async function Layout({ children }: { children: React.ReactNode }) {
  const { slug, features } = await currentTenant();
  return (
    <html lang="en">
      <body>
        <h1>{slug}</h1>
        <FeatureProvider features={features}>{children}</FeatureProvider>
      </body>
    </html>
  );
}
