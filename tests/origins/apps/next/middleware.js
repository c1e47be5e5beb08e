// A guard of the origin's own: part of what the gate has opened, for staff only.

import { NextResponse } from "next/server";

export const config = { matcher: "/public/guarded" };

export function middleware(request) {
  return request.cookies.get("staff")?.value === "yes" ? NextResponse.next() : NextResponse.json({ said: "NOTHING" }, { status: 403 });
}
