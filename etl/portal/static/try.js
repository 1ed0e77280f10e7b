// The real standalone launch by a public app with PKCE (SMART App Launch 2, RFC 7636), in this page.
// The token stays in memory; state and verifier live in this tab's session storage until they are
// used once.

"use strict";

const page = document.getElementById("try");
const { client, redirect, authorize, token, revoke, fhir } = page.dataset;
const KEY = "launch";

const explorers = page.querySelectorAll("form[data-base]");
const [explorer] = explorers; // the member's own data; the other, if there is one, needs no token
let granted = null;

function tell(text) {
  document.getElementById("announcement").textContent = text;
}

function base64url(bytes) {
  return btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

function random() {
  return base64url(crypto.getRandomValues(new Uint8Array(32)));
}

// Shows a request and its answer under a step. Text only: nothing of an answer becomes HTML.
function show(step, title, text) {
  const place = page.querySelector(`[data-shows="${step}"]`);
  const figure = document.createElement("figure");
  figure.className = "code tall";
  const caption = document.createElement("figcaption");
  caption.textContent = title;
  const pre = document.createElement("pre");
  pre.tabIndex = 0;
  pre.setAttribute("role", "region");
  pre.setAttribute("aria-label", `${step}: ${title}`);
  const code = document.createElement("code");
  code.textContent = text;
  pre.append(code);
  figure.append(caption, pre);
  place.append(figure);
  page.querySelector(`[data-waits="${step}"]`)?.remove();
}

function clear(step) {
  page.querySelector(`[data-shows="${step}"]`).replaceChildren();
}

function shortened(name, value) {
  const hidden = ["access_token", "refresh_token", "id_token"].includes(name);
  return hidden ? `${String(value).slice(0, 12)}…` : value;
}

async function post(url, fields) {
  const answer = await fetch(url, {
    method: "POST",
    headers: { accept: "application/json" },
    body: new URLSearchParams(fields),
  });
  const text = await answer.text();
  return { status: answer.status, body: text ? JSON.parse(text) : null };
}

async function launch() {
  const verifier = random();
  const state = random();
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  sessionStorage.setItem(KEY, JSON.stringify({ verifier, state }));
  const query = new URLSearchParams({
    response_type: "code",
    client_id: client,
    redirect_uri: redirect,
    scope: document.getElementById("try-scope").value,
    state,
    aud: fhir,
    code_challenge: base64url(digest),
    code_challenge_method: "S256",
  });
  location.assign(`${authorize}?${query}`);
}

// The browser is back from the authorization server.
async function arrive(query) {
  const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  sessionStorage.removeItem(KEY);
  history.replaceState(null, "", location.pathname); // the code is no bookmark
  if (!kept || kept.state !== query.get("state")) {
    show("token", "Stopped", "This response belongs to another launch, because state differs. Launch again.");
    tell("The launch was stopped: state differs.");
    return;
  }
  if (query.get("error")) {
    const why = query.get("error_description") ?? "";
    show("token", "No code", `error=${query.get("error")}\n${why}`);
    tell(`No code: ${query.get("error")}`);
    return;
  }
  const fields = {
    grant_type: "authorization_code",
    code: query.get("code"),
    redirect_uri: redirect,
    client_id: client,
    code_verifier: kept.verifier,
  };
  const { status, body } = await post(token, fields);
  const sent = { ...fields, code: `${fields.code.slice(0, 8)}…`, code_verifier: "…" };
  const lines = Object.entries(sent).map(([name, value]) => `  ${name}=${value}`);
  show("token", `POST ${token}`, lines.join("\n"));
  show("token", `${status}`, JSON.stringify(body, (name, value) => shortened(name, value), 2));
  if (status !== 200) {
    tell(`The token endpoint answered ${status}.`);
    return;
  }
  granted = body;
  document.getElementById("reads").hidden = false;
  document.getElementById("explore").hidden = false;
  document.getElementById("revoke").hidden = false;
  tell("The code was exchanged for a token. Reading the latest claims.");
  await read(`ExplanationOfBenefit?patient=${granted.patient}&_count=10`);
}

// Breaks JSON into lines without reading it: a number stays as it was sent, 12.50 for instance.
function indented(json) {
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  return json.replace(/"(?:[^"\\]|\\.)*"|\s+|[{[]\s*[}\]]|[{}[\],:]/g, (token) => {
    if (token === "{" || token === "[") {
      depth += 1;
      return token + line();
    }
    if (token === "}" || token === "]") {
      depth -= 1;
      return line() + token;
    }
    if (token === ",") return token + line();
    if (token === ":") return ": ";
    return token.trim();
  });
}

function money({ value, currency }) {
  return new Intl.NumberFormat("en-US", { style: "currency", currency }).format(value);
}

// Lays claims out as a table; anything else is shown as it is.
function table(bundle) {
  const claims = (bundle.entry ?? [])
    .map((entry) => entry.resource)
    .filter((resource) => resource.resourceType === "ExplanationOfBenefit");
  if (!claims.length) return;
  const wrap = document.createElement("div");
  wrap.className = "table";
  wrap.tabIndex = 0;
  wrap.setAttribute("role", "region");
  wrap.setAttribute("aria-label", "Claims");
  const body = document.createElement("table");
  const caption = body.createCaption();
  caption.textContent = `${claims.length} of ${bundle.total ?? "the"} claims`;
  const head = body.createTHead().insertRow();
  for (const name of ["Date", "Type", "Outcome", "Paid"]) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = name;
    head.append(cell);
  }
  const rows = body.createTBody();
  for (const claim of claims) {
    const row = rows.insertRow();
    const paid = claim.payment?.amount;
    const cells = [
      claim.billablePeriod?.start ?? "",
      claim.type?.coding?.[0]?.code ?? "",
      claim.outcome ?? "",
      paid ? money(paid) : "",
    ];
    for (const text of cells) row.insertCell().textContent = text;
  }
  wrap.append(body);
  page.querySelector('[data-shows="read"]').append(wrap);
}

function read(what) {
  const url = `${fhir}/${what.replace("{patient}", granted.patient)}`;
  return ask("read", url, { authorization: `Bearer ${granted.access_token}` });
}

async function ask(step, url, headers) {
  clear(step);
  const answer = await fetch(url, { headers: { accept: "application/json", ...headers } });
  const text = await answer.text();
  const body = JSON.parse(text);
  if (answer.ok && step === "read") table(body);
  const sent = headers.authorization ? "\nauthorization: Bearer …" : "";
  show(step, `GET ${url}`, `accept: application/json${sent}`);
  show(step, `${answer.status}`, indented(text));
  tell(`${answer.status}: ${body.resourceType}`);
}

async function giveBack() {
  clear("revoke");
  const fields = { token: granted.refresh_token ?? granted.access_token, client_id: client };
  const { status } = await post(revoke, fields);
  show("revoke", `POST ${revoke}`, "  token=…\n  client_id=" + client);
  show("revoke", `${status}`, status === 200 ? "Revoked." : "It was not revoked.");
  tell(`The revocation endpoint answered ${status}.`);
  await read("Patient/{patient}");
}

// The search that is filled into a form, of the resource that is chosen.
function explored(form) {
  const type = form.querySelector("select").value;
  const query = new URLSearchParams();
  for (const fields of form.querySelectorAll("[data-type]")) {
    fields.hidden = fields.dataset.type !== type;
    for (const field of fields.hidden ? [] : fields.querySelectorAll("input")) {
      if (field.value && (field.type !== "checkbox" || field.checked)) {
        query.append(field.name, field.value);
      }
    }
  }
  return `${type}${query.size ? "?" : ""}${query}`;
}

page.hidden = false;
for (const form of explorers) {
  const { base, step } = form.dataset;
  const showExplored = () => {
    form.querySelector("[data-request]").textContent = `GET ${base}/${explored(form)}`;
  };
  showExplored();
  form.addEventListener("input", showExplored);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (form === explorer) read(explored(form));
    else ask(step, `${base}/${explored(form)}`, {});
  });
}
document.getElementById("launch").addEventListener("click", launch);
document.getElementById("revoke").addEventListener("click", giveBack);
for (const button of page.querySelectorAll("[data-read]")) {
  button.addEventListener("click", () => read(button.dataset.read));
}
const query = new URLSearchParams(location.search);
if (query.has("code") || query.has("error")) arrive(query);
