/** The API page: changing the language keeps the place. */

import { keepInOtherLanguages } from "./address.js";

keepInOtherLanguages();
