// Draws formulas with KaTeX: a line of JSON in ({tex, display}), a line of JSON out ({html} or {error}).
const [folder] = process.argv.slice(2);
const katex = require(folder + "/katex.min.js");
require("readline").createInterface({ input: process.stdin }).on("line", line => {
  const { tex, display } = JSON.parse(line);
  let answer;
  try {
    const options = { displayMode: display, strict: "ignore", output: "htmlAndMathml" };
    answer = { html: katex.renderToString(tex, options) };
  } catch (e) { answer = { error: String(e.message) }; }
  process.stdout.write(JSON.stringify(answer) + "\n");
});
