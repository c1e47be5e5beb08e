"use client";
import { useFeature } from "tenantgate/react";

export default function Page() {
  return <p>{useFeature("exports", false) ? "You can export." : "Upgrade to export."}</p>;
}
