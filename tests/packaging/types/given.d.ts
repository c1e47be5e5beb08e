// What the examples in the package's documentation take for granted.

declare const gate: import("tenantgate").Gate;
declare const ctx: import("tenantgate/middleware").HandlerContext;
declare const request: Request;
declare const error: unknown;
declare const url: string, token: string;
declare const catalog: object, keys: object, seed: object;
declare const user: { id: string };
declare const env: any, app: any, db: any, handleWebhooks: any;
declare const lookupTenant: (id: string) => Promise<import("tenantgate/middleware").Tenant | null>;
declare const loadUsage: (id: string, key: string) => Promise<number>;
declare const usageOf: (id: string) => Promise<number>;
declare const scopesOf: (request: Request) => Promise<string[]>;
declare const render: (keys: string[]) => void;
declare const retryLater: () => Promise<void>;
declare const send: () => void, tooMuch: () => void, work: () => unknown;
declare const tasks: any, pool: any, prisma: any;
declare const id: string;
declare const findInvoice: (id: string) => Promise<{ id: string; tenant_id: string } | null>;
declare const bytes: number, used: number;
declare interface ExecutionContext { waitUntil(promise: Promise<unknown>): void }
declare const hideTheButton: () => void;
declare const createApp: (options: object) => unknown;
