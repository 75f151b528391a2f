// Build what the citizens' pages are dressed in: node build.mjs PLACE-OF-NODE_MODULES TARGET
// Writes the files that hub/web/portal/assets.py names. Deterministic: the same in, the same out.
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const [place, target] = process.argv.slice(2).map((one) => resolve(one));
const here = dirname(fileURLToPath(import.meta.url));
const modules = join(place, "node_modules");
const require = createRequire(join(place, "package.json"));
const sass = require("sass");
const rtlcss = require("rtlcss");

const quiet = { quietDeps: true, silenceDeprecations: ["if-function"] };
const { css } = sass.compile(join(here, "portal.scss"), { loadPaths: [modules], style: "compressed", charset: false, ...quiet });

mkdirSync(target, { recursive: true });
writeFileSync(join(target, "portal.css"), css);
writeFileSync(join(target, "portal.rtl.css"), rtlcss.process(css));
copyFileSync(join(modules, "govuk-frontend/dist/govuk/govuk-frontend.min.js"), join(target, "govuk-frontend.min.js"));
for (const name of ["portal.js", "icon.svg"]) copyFileSync(join(here, name), join(target, name));
