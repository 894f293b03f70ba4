// The interface's description as a page: every route of openapi.json, closed until somebody opens it.

import { get } from "./api.js";
import { byId, element, trouble } from "./dom.js";

const DEPTH = 6; // models refer to models; a document's hit has four levels

async function show() {
  const place = byId("routes");
  try {
    const api = await get("/api/openapi.json");
    const routes = Object.entries(api.paths).flatMap(([path, operations]) =>
      Object.entries(operations).map(([method, operation]) => route(api, method.toUpperCase(), path, operation)),
    );
    place.replaceChildren(...routes);
  } catch (error) {
    place.replaceChildren(trouble(error));
  }
}

function route(api, method, path, operation) {
  const body = element("div", { class: "body" }, element("p", {}, operation.description ?? ""));
  const parameters = (operation.parameters ?? []).map((each) => field(api, each.name, each.schema, each.required, 0));
  section(body, "Parameters", parameters);
  for (const [type, { schema }] of Object.entries(operation.requestBody?.content ?? {})) {
    section(body, `Body, ${type}`, fields(api, schema, 0));
  }
  for (const [status, { description, content }] of Object.entries(operation.responses)) {
    const shown = Object.values(content ?? {}).flatMap(({ schema }) => fields(api, schema, 0));
    section(body, `${status}: ${description}`, status.endsWith("XX") ? [] : shown, true);
  }
  const name = element("code", {}, `${method} ${path}`);
  return element("details", { class: "route" }, element("summary", {}, name, element("span", { class: "small" }, operation.summary)), body);
}

function section(body, title, items, always = false) {
  if (!items.length && !always) return;
  body.append(element("h3", {}, title), element("ul", {}, ...items));
}

/** The members of a model, each with its own below it. */
function fields(api, schema, depth) {
  const model = resolved(api, schema);
  const required = new Set(model.required ?? []);
  return Object.entries(model.properties ?? {}).map(([name, each]) => field(api, name, each, required.has(name), depth));
}

function field(api, name, schema, required, depth) {
  const about = `${typeName(api, schema)}${required ? "" : ", optional"}${limits(api, schema)}`;
  const inner = depth < DEPTH ? fields(api, itemOf(api, schema), depth + 1) : [];
  return element(
    "li",
    {},
    element("code", {}, name),
    element("span", { class: "small" }, ` ${about}`),
    inner.length ? element("ul", { class: "body" }, ...inner) : null,
  );
}

function resolved(api, schema) {
  const name = schema?.$ref?.split("/").pop();
  return name ? api.components.schemas[name] : (schema ?? {});
}

/** What holds the members: the model itself, a list's entry, or the one alternative that is not null. */
function itemOf(api, schema) {
  const model = resolved(api, schema);
  const some = model.anyOf?.filter((each) => each.type !== "null");
  if (some?.length === 1) return itemOf(api, some[0]);
  return model.type === "array" && model.items ? itemOf(api, model.items) : model;
}

function typeName(api, schema) {
  const model = resolved(api, schema);
  if (model.anyOf) return model.anyOf.map((each) => typeName(api, each)).join(" or ");
  if (model.enum) return model.enum.map((each) => JSON.stringify(each)).join(" | ");
  if (model.type === "array") return `list of ${model.items ? typeName(api, model.items) : "anything"}`;
  return model.type ?? "anything";
}

function limits(api, schema) {
  const model = resolved(api, schema);
  const known = { minimum: "≥", exclusiveMinimum: ">", maximum: "≤", minLength: "characters ≥", maxLength: "characters ≤", maxItems: "entries ≤" };
  const parts = Object.entries(known).filter(([name]) => name in model).map(([name, sign]) => `${sign} ${model[name].toLocaleString("en")}`);
  if ("default" in model && model.default !== null) parts.push(`default ${JSON.stringify(model.default)}`);
  return parts.length ? `, ${parts.join(", ")}` : "";
}

show();
