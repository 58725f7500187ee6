// Looks at the built book: links lead somewhere, and in a browser no page is wider than its
// window, no picture is missing and nothing is reported to the console.
//
//   node book.mjs BOOK TOOLS PICTURES
//
// Ends with 1, and a line for each fault.
import { createRequire } from "node:module";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [book, tools, pictures] = process.argv.slice(2).map((path) => resolve(path));
const require = createRequire(join(tools, "node/node_modules/"));
const { chromium } = require("playwright-core");

const widths = { desktop: { width: 1280, height: 900 }, phone: { width: 360, height: 740 } };
// What somebody should have looked at.
const shown = ["index", "five-minutes", "config", "comparison", "ja/index", "ja/five-minutes", "ja/fifteen-minutes"];

const faults = [];
const pages = readdirSync(book, { recursive: true })
  .filter((name) => name.endsWith(".html") && !/^(print|404|toc)\.html$/.test(name))
  .sort();

// Anchors of a page, and where its links lead, as written.
const read = (name) => {
  const html = readFileSync(join(book, name), "utf8");
  const all = (pattern) => [...html.matchAll(pattern)].map((match) => match[1]);
  const [language] = all(/<html lang="([^"]*)"/g);
  const expected = /^ja[/\\]/.test(name) ? "ja" : "en";
  if (language !== expected) faults.push(`${name}: its language is said to be ${language}`);
  return { ids: new Set(all(/\sid="([^"]+)"/g)), links: all(/<a\b[^>]*\shref="([^"]+)"/g) };
};
const known = new Map(pages.map((name) => [name, read(name)]));
for (const [name, { links }] of known) {
  for (const link of links) {
    if (/^[a-z]+:/.test(link)) continue;
    const [file, anchor] = decodeURI(link).split("#");
    const target = file ? relative(book, resolve(book, dirname(name), file)) : name;
    if (!existsSync(join(book, target)) || file.endsWith("/")) faults.push(`${name}: ${link} leads nowhere`);
    else if (anchor && known.has(target) && !known.get(target).ids.has(anchor))
      faults.push(`${name}: ${link}: there is no such heading`);
  }
}

rmSync(pictures, { recursive: true, force: true });
mkdirSync(pictures, { recursive: true });
const browser = await chromium.launch({
  executablePath: join(tools, "browser"),
  args: ["--no-sandbox", "--allow-file-access-from-files"],
});
for (const [size, viewport] of Object.entries(widths)) {
  const page = await browser.newPage({ viewport });
  let current;
  page.on("pageerror", (error) => faults.push(`${current}, ${size}: ${error.message}`));
  for (const name of pages) {
    current = name;
    await page.goto(pathToFileURL(join(book, name)).href, { waitUntil: "load" });
    const found = await page.evaluate(() => {
      const root = document.documentElement;
      const broken = [...document.images].filter((image) => image.naturalWidth === 0);
      // What is wider than the window and is not scrolled by itself, as code and tables are. What
      // is around the text (mdBook's own) scrolls too, and would hide it from the document's width.
      const scrolled = (element) =>
        element.tagName !== "MAIN" &&
        (/(auto|scroll|hidden)/.test(getComputedStyle(element).overflowX) || scrolled(element.parentElement));
      const wide = [...document.querySelectorAll("main *")].filter(
        (element) => element.getBoundingClientRect().right > root.clientWidth + 1 && !scrolled(element),
      );
      // There is room for every table at the width of a desktop.
      const tables = [...document.querySelectorAll("main .table-wrapper")].filter(
        (wrapper) => root.clientWidth > 1000 && wrapper.scrollWidth > wrapper.clientWidth + 1,
      );
      return {
        scrolled: tables.map((wrapper) => `${wrapper.scrollWidth} px in ${wrapper.clientWidth}`),
        over: root.scrollWidth - root.clientWidth,
        wide: wide.slice(0, 3).map((element) => element.outerHTML.slice(0, 80)),
        broken: broken.map((image) => image.src),
      };
    });
    if (found.over > 0) faults.push(`${name}, ${size}: ${found.over} px too wide`);
    for (const table of found.scrolled) faults.push(`${name}, ${size}: a table of ${table}`);
    for (const element of found.wide) faults.push(`${name}, ${size}: too wide: ${element}`);
    for (const image of found.broken) faults.push(`${name}, ${size}: no picture: ${image}`);
    if (shown.includes(name.replace(/\.html$/, "")))
      await page.screenshot({ path: join(pictures, `${name.replaceAll("/", "-")}-${size}.png`) });
  }
}
await browser.close();

for (const fault of faults) console.log(fault);
console.log(`${pages.length} pages, ${faults.length} faults`);
process.exit(faults.length === 0 && pages.length > 20 ? 0 : 1);
