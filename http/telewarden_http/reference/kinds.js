/** Schemas in words. */

/** The name of the schema that this one refers to; null if it refers to none. */
export function nameOf(schema) {
  const reference = schema.$ref ?? null;
  return reference === null ? null : reference.slice(reference.lastIndexOf("/") + 1);
}

/** What a schema takes, on a line. */
export function kindOf(schema) {
  const name = nameOf(schema);
  if (name !== null) return name;
  if (schema.enum !== undefined) return schema.enum.map((each) => JSON.stringify(each)).join(" | ") + preset(schema);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return choices.map(kindOf).join(" | ") + preset(schema);
  if (schema.type === "array") return `list of ${schema.items === undefined ? "anything" : kindOf(schema.items)}${bounds(schema)}`;
  const kind = schema.format ?? schema.type ?? schema.description ?? "anything";
  return kind + bounds(schema) + preset(schema);
}

function bounds(schema) {
  const least = schema.minimum ?? schema.minLength ?? schema.minItems;
  const most = schema.maximum ?? schema.maxLength ?? schema.maxItems;
  const unit = schema.minItems ?? schema.maxItems ? " items" : schema.minLength ?? schema.maxLength ? " characters" : "";
  if (least !== undefined && most !== undefined) return `, ${least} to ${most}${unit}`;
  if (most !== undefined) return `, at most ${most}${unit}`;
  return least === undefined ? "" : `, at least ${least}${unit}`;
}

function preset(schema) {
  return schema.default === undefined || schema.default === null ? "" : ` (${JSON.stringify(schema.default)} unless given)`;
}
