// Reads an AsyncAPI document from standard input with the official parser, writes one line per finding, and exits 1
// when one is an error. Severities: 0 error, 1 warning, 2 information, 3 hint.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(readFileSync(0, "utf8"));
for (const one of diagnostics) {
  console.log(`${one.severity} ${one.code} /${one.path.join("/")} ${one.message}`);
}
process.exit(document && diagnostics.every((one) => one.severity > 0) ? 0 : 1);
