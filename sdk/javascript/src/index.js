export { Client } from "./client.js";
export { ClientError, ServiceError } from "./errors.js";
