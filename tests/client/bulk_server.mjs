// A FHIR server's bulk export as a test peer: node bulk_server.mjs DIR JWKS|- LOG [OPTION…]. Prints its port. It says no wherever the
// specification lets a server say no: tokens by signed assertions (checked with Node's own crypto), Prefer and Accept demanded, busy at
// first, transfers cut in the middle. DIR/*.ndjson is the first export; DIR/since/ what changed (output), DIR/since/deleted, DIR/since/error.
// Options: cut (the first transfer of every file breaks off), post (no GET), slow (a file's second half after a minute), elsewhere (files at
// another origin), miscount, lost (jobs are forgotten once), chunked, page (a finished job
// first answers with a page of HTML), expired (files of the first job are refused).
import { createServer } from "node:http";
import { createPublicKey, verify } from "node:crypto";
import { appendFileSync, existsSync, readdirSync, readFileSync } from "node:fs";

const [dir, jwks, log, ...options] = process.argv.slice(2);
const has = (o) => options.includes(o);
const time = ["2026-01-02T03:04:05.678Z", "2026-02-03T04:05:06.789Z"];
const jobs = new Map(), tokens = new Map(), seen = new Set(), cut = new Set();
let next = 1, base = "", lost = has("lost"), page = has("page"), ready = 0;

const say = (response, status, body, headers = {}) => {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  response.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text), ...headers });
  response.end(text);
};
const outcome = (response, status, words, headers) =>
  say(response, status, { resourceType: "OperationOutcome", issue: [{ severity: "error", code: "processing", diagnostics: words }] }, headers);
const part = (s) => JSON.parse(Buffer.from(s, "base64url"));

function token(response, body) {
  const form = new URLSearchParams(body), jwt = form.get("client_assertion") ?? "", [h, c, s] = jwt.split(".");
  try {
    const head = part(h), claims = part(c), now = Date.now() / 1000;
    const key = JSON.parse(readFileSync(jwks)).keys.find((k) => k.kid === head.kid);
    const sure = [
      form.get("grant_type") === "client_credentials", form.get("client_assertion_type") === "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
      head.typ === "JWT", ["RS384", "ES384"].includes(head.alg), key.alg === head.alg, !("d" in key), claims.iss === "vitae-test", claims.sub === claims.iss,
      claims.aud === `${base}/token`, claims.exp > now && claims.exp <= now + 300, !seen.has(claims.jti), /^system\//.test(form.get("scope")),
      verify("sha384", Buffer.from(`${h}.${c}`), { key: createPublicKey({ key, format: "jwk" }), dsaEncoding: "ieee-p1363" }, Buffer.from(s, "base64url")),
    ];
    if (!sure.every(Boolean)) throw new Error(JSON.stringify(sure));
    seen.add(claims.jti);
    const t = `t${next++}-${"x".repeat(20)}`;
    tokens.set(t, Date.now() + 40000);
    say(response, 200, { access_token: t, token_type: "bearer", expires_in: 40, scope: form.get("scope") });
  } catch (e) {
    appendFileSync(log, JSON.stringify({ refused: String(e) }) + "\n");
    say(response, 400, { error: "invalid_client" });
  }
}

function files(since, types) {
  const list = (sub) => (existsSync(`${dir}/${sub}`) ? readdirSync(`${dir}/${sub}`).filter((f) => f.endsWith(".ndjson")).sort() : []);
  const at = has("elsewhere") ? base.replace("127.0.0.1", "localhost") : base;
  const rows = (sub) => list(sub).map((f) => {
    const count = readFileSync(`${dir}/${sub}/${f}`, "utf8").split("\n").filter((l) => l.trim()).length;
    return { type: f.split(".")[0], url: `${at}/files/${sub}${f}`, count: count + (has("miscount") ? 1 : 0) };
  });
  const wanted = (r) => !types.length || types.includes(r.type);
  return since ? { output: rows("since/").filter(wanted), deleted: rows("since/deleted/"), error: rows("since/error/") }
               : { output: rows("").filter(wanted), deleted: [], error: [] };
}

function start(request, response, query) {
  if (!/^application\/fhir\+json/.test(request.headers.accept ?? "") || request.headers.prefer !== "respond-async")
    return outcome(response, 400, "Accept and Prefer are wrong");
  const known = [..."_outputFormat _since _type".split(" ")];
  for (const k of query.keys()) if (!known.includes(k)) return outcome(response, 400, `unknown ${k}`);
  const since = query.get("_since");
  if (since && Number.isNaN(Date.parse(since))) return outcome(response, 400, "_since is no instant");
  const id = next++;
  jobs.set(String(id), { asked: 0, since, types: (query.get("_type") ?? "").split(",").filter(Boolean), level: request.url });
  response.writeHead(202, { "Content-Location": `${base}/jobs/${id}`, "Content-Length": 0 });
  response.end();
}

function status(request, response, id) {
  const job = jobs.get(id);
  if (lost && job) { lost = false; jobs.delete(id); return outcome(response, 404, "no such job"); }
  if (!job) return outcome(response, 404, "no such job");
  if (request.method === "DELETE") { jobs.delete(id); response.writeHead(202, { "Content-Length": 0 }); return response.end(); }
  job.asked++;
  if (job.asked === 1) return outcome(response, 429, "slow down", { "Retry-After": "0" });
  if (job.asked < 4) { response.writeHead(202, { "X-Progress": `${job.asked} of 4`, "Retry-After": "0", "Content-Length": 0 }); return response.end(); }
  if (page) { page = false; return say(response, 200, "<!DOCTYPE html><title>Maintenance</title>", { "Content-Type": "text/html" }); }
  ready++;
  say(response, 200, { transactionTime: time[job.since ? 1 : 0], request: job.level, requiresAccessToken: jwks !== "-", ...files(job.since, job.types), extension: {} });
}

function file(request, response, name) {
  const path = `${dir}/${name}`;
  if (has("expired") && ready < 2) return outcome(response, 403, "the address has expired");
  if (name.includes("..") || !existsSync(path)) return outcome(response, 404, "no such file");
  const all = readFileSync(path), from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
  if (from && from >= all.length) return outcome(response, 416, "beyond the end");
  const head = { "Content-Type": "application/fhir+ndjson" };
  if (!has("chunked")) head["Content-Length"] = all.length - from;
  if (from) head["Content-Range"] = `bytes ${from}-${all.length - 1}/${all.length}`;
  response.writeHead(from ? 206 : 200, head);
  if (has("cut") && !cut.has(name)) {
    cut.add(name);
    return response.write(all.subarray(0, Math.floor(all.length / 2)), () => setTimeout(() => request.socket.destroy(), 50));
  }
  if (has("slow") && !from) return response.write(all.subarray(0, Math.floor(all.length / 2)), () => setTimeout(() => response.end(all.subarray(Math.floor(all.length / 2))), 60000));
  response.end(all.subarray(from));
}

const server = createServer((request, response) => {
  let body = "";
  request.on("data", (d) => (body += d));
  request.on("end", () => {
    const url = new URL(request.url, base), bearer = (request.headers.authorization ?? "").replace(/^Bearer /, "");
    appendFileSync(log, JSON.stringify({ method: request.method, path: url.pathname, query: url.search, range: request.headers.range, bearer: !!bearer, body: body.startsWith("{") ? body : "" }) + "\n");
    if (url.pathname === "/fhir/.well-known/smart-configuration")
      return say(response, 200, { token_endpoint: `${base}/token`, grant_types_supported: ["client_credentials"], capabilities: ["client-confidential-asymmetric"] });
    if (url.pathname === "/token") return token(response, body);
    if (jwks !== "-" && !((tokens.get(bearer) ?? 0) > Date.now())) return outcome(response, 401, "a token is needed");
    if (url.pathname.endsWith("/$export")) {
      if (!has("post")) return request.method === "GET" ? start(request, response, url.searchParams) : outcome(response, 405, "GET");
      if (request.method !== "POST") return outcome(response, 405, "POST");
      const query = new URLSearchParams();
      for (const p of JSON.parse(body).parameter) query.set(p.name, p.valueString ?? p.valueInstant);
      return start(request, response, query);
    }
    if (url.pathname.startsWith("/jobs/")) return status(request, response, url.pathname.slice(6));
    if (url.pathname.startsWith("/files/")) return file(request, response, decodeURIComponent(url.pathname.slice(7)));
    outcome(response, 404, "no such path");
  });
});
server.listen(0, "127.0.0.1", () => {
  base = `http://127.0.0.1:${server.address().port}`;
  console.log(server.address().port);
});
