/**
 * A call failed on its way. `code` is one of `unreachable` (nothing was sent), `timeout`, `cut`, `stream_cut` (part of an
 * answer had arrived), `protocol` (what arrived is not this service's language), `invalid_input`.
 */
export class ClientError extends Error {
  constructor(message, { code, hint = "", cause } = {}) {
    super(message, { cause });
    this.name = "ClientError";
    this.code = code;
    this.hint = hint;
  }
}

/** The service refused or failed; message, hint and code are its own words. */
export class ServiceError extends ClientError {
  constructor(problem, { status, requestId = "", retryAfterSeconds = null }) {
    super(problem.detail || `the service answered with status ${status}`, {
      code: problem.code || "service",
      hint: problem.hint || "",
    });
    this.name = "ServiceError";
    this.status = status;
    this.requestId = problem.request_id || requestId;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}
