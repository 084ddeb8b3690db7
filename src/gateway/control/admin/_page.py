"""GET /: one static page for people. It holds no data and no secret; the token that a person enters stays in the page's
memory and goes only into the Authorization header of calls to the admin API.

Nothing is loaded from elsewhere, and the content security policy names the style and the script by their digests. Text
from the API (names of models come from callers) is set as text, never as HTML.
"""

from __future__ import annotations

import base64
import hashlib

_STYLE = """
:root { color-scheme: light dark; --ground: #f6f7f9; --card: #fff; --ink: #1b1f27; --soft: #626b7a; --line: #e1e5eb;
  --accent: #2457d6; --good: #187a45; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ground: #12151a; --card: #1b2028; --ink: #e7eaf0; --soft: #97a1b1;
  --line: #2c333e; --accent: #7ea6ff; --good: #5fcf92; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem 1rem; }
h1 { font-size: 1.6rem; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 1rem; margin: 0 0 .6rem; }
p { margin: .4rem 0; max-width: 46rem; }
.soft, caption { color: var(--soft); }
section { background: var(--card); border: 1px solid var(--line); border-radius: .7rem; padding: 1rem 1.2rem;
  margin-top: 1rem; overflow-x: auto; }
form { display: flex; gap: .6rem; flex-wrap: wrap; align-items: center; }
input { flex: 1 1 18rem; font: inherit; padding: .5rem .7rem; color: inherit; background: var(--ground);
  border: 1px solid var(--line); border-radius: .45rem; }
button { font: inherit; padding: .5rem 1.1rem; border: 0; border-radius: .45rem; background: var(--accent);
  color: var(--card); cursor: pointer; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
a { color: var(--accent); }
code { font: .9em ui-monospace, monospace; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem 1rem .35rem 0; border-top: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 500; border-top: 0; }
.number { text-align: right; }
.good { color: var(--good); } .bad { color: var(--bad); }
[hidden] { display: none; }
"""

_SCRIPT = """
"use strict";
const EVERY_MS = 5000;
let token = "", timer = 0, names = new Map();
const at = (id) => document.getElementById(id);
const whole = new Intl.NumberFormat("en");
const usd = (nano) => "$" + (nano / 1e9).toLocaleString("en", {minimumFractionDigits: 2, maximumFractionDigits: 6});
const ms = (us) => us ? (us / 1000).toFixed(us < 10000 ? 1 : 0) + " ms" : "";
const when = (at_ms) => new Date(at_ms).toLocaleString();

async function ask(path) {
  const answer = await fetch("/admin/v1/" + path, {headers: {authorization: "Bearer " + token}, cache: "no-store"});
  const body = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(body.error.message), {status: answer.status});
  return body;
}

function cell(tag, value, numeric) {
  const made = document.createElement(tag);
  const [text, tone] = Array.isArray(value) ? value : [value, ""];
  made.textContent = text ?? "";
  made.className = [numeric ? "number" : "", tone].filter(Boolean).join(" ");
  return made;
}

function fill(id, columns, rows, empty) {
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const [name, , numeric] of columns) head.append(cell("th", name, numeric));
  const body = table.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    for (const [, value, numeric] of columns) line.append(cell("td", value(row), numeric));
  }
  const nothing = Object.assign(document.createElement("p"), {className: "soft", textContent: empty});
  at(id).replaceChildren(rows.length ? table : nothing);
}

const count = (name, field) => [name, (row) => row[field] == null ? "" : whole.format(row[field]), true];

function showStatus(status) {
  const node = status.node.status;
  at("node").textContent = node
    ? `Throughway ${node.version}; ${node.readiness}; configuration ${node.config.version}`
    : status.node.error;
  at("node").className = node && node.ready ? "good" : "bad";
  fill("workers", [
    count("Worker", "worker"), count("Process", "pid"),
    ["State", (w) => [w.state, w.state === "serving" ? "good" : "bad"]],
    count("In flight", "in_flight"), count("Connections", "connections"),
    count("Upstream busy", "upstream_busy"), count("Upstream idle", "upstream_idle"),
    count("Tokens in flight", "tokens_in_flight"), ["Loop lag", (w) => ms(w.loop_lag_us), true],
  ], node ? node.workers : [], "No worker is known.");
}

function showKeys(keys) {
  names = new Map(keys.map((key) => [key.id, key.name]));
  fill("keys", [
    ["Key", (k) => k.name], ["Team", (k) => k.team], ["Models", (k) => k.models.join(", ")],
    ["Requests/min", (k) => k.limits.requests_per_minute ?? "unlimited", true],
    ["Tokens/min", (k) => k.limits.tokens_per_minute ?? "unlimited", true],
    ["At a time", (k) => k.limits.concurrency ?? "unlimited", true],
    ["Budget", (k) => k.budget ? `$${k.budget.usd} a ${k.budget.per}`.replace("a total", "in all") : "none", true],
    ["State", (k) => [k.state, k.state === "live" ? "good" : "bad"]],
  ], keys, "No key exists yet: throughway keys create NAME makes one.");
}

function showUsage(usage) {
  const rows = usage.groups.length ? [...usage.groups, usage.total] : [];
  fill("usage", [
    ["Model", (g) => g.name], count("Requests", "requests"), count("Errors", "errors"),
    count("Input tokens", "input_tokens"), count("Output tokens", "output_tokens"),
    count("From cache", "cache_read_tokens"), ["Cost", (g) => usd(g.cost_nano_usd), true],
    count("Unpriced", "unpriced"),
  ], rows, "Nothing was used in the last 24 hours.");
}

function showRecent(records) {
  fill("recent", [
    ["When", (r) => when(r.at_ms)], ["Key", (r) => names.get(r.key_id) ?? r.key_id], ["Model", (r) => r.model],
    ["Answered by", (r) => [r.provider, r.target_model].filter(Boolean).join(" / ")],
    ["Status", (r) => [r.code ? `${r.status} ${r.code}` : r.status, r.code ? "bad" : "good"]],
    count("In", "input_tokens"), count("Out", "output_tokens"), ["Cost", (r) => usd(r.cost_nano_usd), true],
    ["First token", (r) => ms(r.first_token_us), true], ["Whole", (r) => ms(r.duration_us), true],
  ], records, "No request has been recorded yet.");
}

async function refresh() {
  clearTimeout(timer);
  try {
    const since = new Date(Date.now() - 864e5).toISOString();
    const [status, keys, usage, recent] = await Promise.all(
      [ask("status"), ask("keys"), ask("usage?by=model&since=" + since), ask("usage/records?limit=20")]);
    showStatus(status); showKeys(keys.keys); showUsage(usage); showRecent(recent.records);
    at("view").hidden = false;
    say("Refreshed " + new Date().toLocaleTimeString() + "; the token is kept in this page's memory alone.", "soft");
    timer = setTimeout(refresh, EVERY_MS);
  } catch (error) {
    say(error.status ? error.message : "The control plane does not answer.", "bad");
    if (error.status === 401 || error.status === 429) at("view").hidden = true;
    else timer = setTimeout(refresh, EVERY_MS);
  }
}

function say(text, tone) { at("word").textContent = text; at("word").className = tone; }

at("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value.trim();
  at("token").value = "";
  refresh();
});
"""

_HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Throughway</title>
<style>{style}</style>
</head>
<body>
<main>
<header><h1>Throughway</h1><span class="soft">control plane of an LLM gateway</span></header>
<p>This address is for the people and programs that run the gateway; applications ask on another one.
The API is described in <a href="/admin/v1/openapi.json">openapi.json</a>; <a href="/healthz">health</a>,
<a href="/readyz">readiness</a> and <a href="/metrics">metrics</a> need no token.</p>
<section>
<form id="enter">
<label for="token">Admin token</label>
<input id="token" type="password" autocomplete="off" spellcheck="false" required>
<button>Show</button>
</form>
<p id="word" class="soft">It is <code>admin.token</code> of the configuration, or else stands in the file
<code>admin-token</code> of the state directory.</p>
</section>
<div id="view" hidden>
<section><h2>Workers</h2><p id="node"></p><div id="workers"></div></section>
<section><h2>Usage by model, last 24 hours</h2><div id="usage"></div></section>
<section><h2>Latest requests</h2><div id="recent"></div></section>
<section><h2>Keys and their limits</h2><div id="keys"></div></section>
</div>
<noscript><p>The tables need JavaScript; the API does not.</p></noscript>
</main>
<script>{script}</script>
</body>
</html>
"""


def _source(text: str) -> str:
    """A CSP source that admits exactly this inline text (CSP level 2, hash-source)."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


PAGE = _HTML.replace("{style}", _STYLE).replace("{script}", _SCRIPT).encode()
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; script-src {_source(_SCRIPT)}; style-src {_source(_STYLE)}; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
