// What this service offers, from its own description: parts of the page that need a route stay away without it.

import { get } from "./api.js";

let description = null;

/** Load the description, once. */
export async function learn() {
  description ??= await get("/api/openapi.json", {}, { background: true });
}

/** Whether the service has the route, as `"POST /api/documents"`. */
export function offers(route) {
  const [method, path] = route.split(" ");
  return Boolean(description?.paths?.[path]?.[method.toLowerCase()]);
}
