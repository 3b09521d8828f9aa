"""An EHR for tests: a FHIR R4 server over bundles on disk (reads, searches by patient, pages) and its SMART authorisation (discovery, PKCE, launch,
token with patient and appContext). Everybody is logged in and says yes. Prints its port.

    python3 ehr.py DIRECTORY_OF_BUNDLES [CLIENT_ID] [SECRET]

POST /open {"patient": ID, "appContext": TEXT} is the EHR opening an app: {"launch": …}. POST /mode {"pkce": false | "slow": SECONDS | "deny": true}.
GET /log: what was asked, a line each. It is a peer, checked by fhirclient in hospital.mjs.
"""
import base64, hashlib, json, os, secrets, sys, threading, time, urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

bundles, client, secret = sys.argv[1], (sys.argv[2:] + ["vitae"])[0], (sys.argv[3:] + [""])[0]
patients, codes, launches, tokens, mode, log = {}, {}, {}, {}, {}, []
for name in os.listdir(bundles):
    entries = [e["resource"] for e in json.load(open(os.path.join(bundles, name)))["entry"]]
    patients[next(r["id"] for r in entries if r["resourceType"] == "Patient")] = entries
PAGE = 5


class Ehr(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, kind="application/fhir+json", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for k, v in {"Content-Type": kind, "Content-Length": str(len(data)), "Access-Control-Allow-Origin": "*", **headers}.items():
            self.send_header(k.replace("_", "-"), v)
        self.end_headers()
        self.wfile.write(data)

    def outcome(self, status, code):
        self.answer(status, {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code}]})

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        q = dict(urllib.parse.parse_qsl(url.query))
        log.append(f"GET {url.path}")
        if url.path == "/log":
            return self.answer(200, "\n".join(log).encode(), "text/plain")
        if url.path == "/fhir/.well-known/smart-configuration":
            return self.answer(200, {"authorization_endpoint": f"{base}/authorize", "token_endpoint": f"{base}/token", "grant_types_supported": ["authorization_code"],
                                     "capabilities": ["launch-ehr", "launch-standalone", "client-public", "context-ehr-patient", "permission-v2"],
                                     "code_challenge_methods_supported": ["S256"] if mode.get("pkce", True) else ["plain"]}, "application/json")
        if url.path == "/authorize":
            return self.authorize(q)
        if url.path.startswith("/fhir/"):
            return self.fhir(url.path[6:], q)
        self.outcome(404, "not-found")

    def authorize(self, q):
        back = q.get("redirect_uri", "")
        wrong = [k for k, v in {"response_type": "code", "client_id": client, "aud": f"{base}/fhir", "code_challenge_method": "S256"}.items() if q.get(k, "").rstrip("/") != v]
        scopes = q.get("scope", "").split()
        if wrong or not back or not q.get("state") or ("launch" in scopes) != ("launch" in q):
            return self.answer(400, f"wrong: {wrong} {scopes}".encode(), "text/plain")
        if mode.get("deny"):
            return self.answer(302, b"", Location=f"{back}?{urllib.parse.urlencode({'error': 'access_denied', 'state': q['state']})}")
        opened = launches.pop(q["launch"], None) if "launch" in q else {"patient": sorted(patients)[0]}
        if opened is None:
            return self.answer(400, b"no such launch", "text/plain")
        code = secrets.token_urlsafe(16)
        codes[code] = {**opened, "challenge": q["code_challenge"], "redirect_uri": back, "nonce": q.get("nonce"), "scope": q["scope"]}
        self.answer(302, b"", Location=f"{back}?{urllib.parse.urlencode({'code': code, 'state': q['state']})}")

    def do_POST(self):
        text = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        log.append(f"POST {self.path}")
        if self.path == "/open":
            launch = secrets.token_urlsafe(8)
            launches[launch] = json.loads(text)
            return self.answer(200, {"launch": launch})
        if self.path == "/mode":
            mode.clear(), mode.update(json.loads(text))
            return self.answer(200, {})
        if self.path != "/token":
            return self.outcome(404, "not-found")
        q = dict(urllib.parse.parse_qsl(text))
        c = codes.pop(q.get("code"), None)
        basic = "Basic " + base64.b64encode(f"{client}:{secret}".encode()).decode()
        known = self.headers.get("Authorization") == basic if secret else q.get("client_id") == client
        verified = c and base64.urlsafe_b64encode(hashlib.sha256(q.get("code_verifier", "").encode()).digest()).decode().rstrip("=") == c["challenge"]
        if not known or not verified or q.get("grant_type") != "authorization_code" or q.get("redirect_uri") != c["redirect_uri"]:
            return self.answer(400, {"error": "invalid_grant"}, "application/json")
        token = "access-" + secrets.token_urlsafe(24)
        tokens[token] = c["patient"]
        part = lambda x: base64.urlsafe_b64encode(json.dumps(x).encode()).decode().rstrip("=")
        claims = {"iss": f"{base}/fhir", "aud": client, "sub": "dr-someone", "exp": int(time.time()) + 300, **({"nonce": c["nonce"]} if c["nonce"] else {})}
        self.answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": 600, "scope": c["scope"], "patient": c["patient"], "need_patient_banner": True,
                          "id_token": f"{part({'alg': 'RS256'})}.{part(claims)}.{part('signature')}", **({"appContext": c["appContext"]} if "appContext" in c else {})}, "application/json")

    def fhir(self, rest, q):
        if mode.get("slow"):
            time.sleep(mode["slow"])
        patient = tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
        if patient is None:
            return self.outcome(401, "login")
        kind, _, ident = rest.partition("/")
        if ident:
            found = [r for r in patients[patient] if r["resourceType"] == kind and r["id"] == ident]
            return self.answer(200, found[0]) if found else self.outcome(404, "not-found")
        if q.get("patient", "").removeprefix("Patient/") != patient:
            return self.outcome(403, "forbidden")
        found = [r for r in patients[patient] if r["resourceType"] == kind]
        at = int(q.get("_offset", 0))
        bundle = {"resourceType": "Bundle", "type": "searchset", "total": len(found), "link": [{"relation": "self", "url": base + self.path}],
                  "entry": [{"fullUrl": f"{base}/fhir/{kind}/{r['id']}", "resource": r, "search": {"mode": "match"}} for r in found[at : at + PAGE]]}
        if at + PAGE < len(found):
            bundle["link"].append({"relation": "next", "url": f"{base}/fhir/{kind}?{urllib.parse.urlencode({'patient': patient, '_offset': at + PAGE})}"})
        self.answer(200, bundle)


server = ThreadingHTTPServer(("127.0.0.1", 0), Ehr)
base = f"http://127.0.0.1:{server.server_port}"
tokens["backend-access"] = sorted(patients)[0]
print(server.server_port, flush=True)
threading.Thread(target=server.serve_forever).start()
