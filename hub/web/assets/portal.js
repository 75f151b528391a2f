// Everything works without this. It folds the menu on small screens and keeps a button from being pressed twice.
import { initAll } from "./govuk-frontend.min.js";

document.body.classList.add("js-enabled", "govuk-frontend-supported");
initAll();
