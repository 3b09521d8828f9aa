#!/usr/bin/env python3
"""A client of the API with nothing but the standard library: predicts for a FHIR bundle or a subject of the site.

    VITAE_KEY=vitae_… predict_client.py http://127.0.0.1:8080 --bundle patient.json --task death-1y
    VITAE_KEY=vitae_… predict_client.py http://127.0.0.1:8080 --subject 123 --task death-1y --futures 100
"""
import argparse, json, os, sys, time, urllib.error, urllib.parse, urllib.request


class Client:
    def __init__(self, url, key, tries=5):
        self.url, self.key, self.tries = url.rstrip("/"), key, tries

    def call(self, path, body=None, **query):
        target = self.url + path + ("?" + urllib.parse.urlencode(query) if query else "")
        for attempt in range(self.tries):
            request = urllib.request.Request(target, data=None if body is None else json.dumps(body).encode(),
                                             headers={"Authorization": "Bearer " + self.key, **({"Content-Type": "application/json"} if body is not None else {})})
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as e:
                if e.code == 429 and attempt + 1 < self.tries:
                    time.sleep(float(e.headers.get("Retry-After", 1)))
                    continue
                try:
                    problem = json.load(e)["error"]
                except ValueError:
                    problem = {"code": "unknown", "message": e.reason}
                raise SystemExit(f"{e.code} {problem['code']}: {problem['message']}")

    def predict(self, body, **query):
        return self.call("/v1/predict", body, **query)

    def risk(self, subject, **query):
        return self.call(f"/v1/subjects/{urllib.parse.quote(str(subject))}/risk", **query)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("url")
    p.add_argument("--bundle")
    p.add_argument("--subject")
    p.add_argument("--task")
    p.add_argument("--futures", type=int, default=0)
    p.add_argument("--explain", type=int, default=3)
    o = p.parse_args()
    key = os.environ.get("VITAE_KEY") or sys.exit("VITAE_KEY holds no key")
    client, query = Client(o.url, key), {"futures": o.futures, "explain": o.explain, **({"task": o.task} if o.task else {})}
    if o.bundle:
        with open(o.bundle, encoding="utf-8") as f:
            answer = client.predict(json.load(f), **query)
    else:
        subject = o.subject or client.call("/v1/cohort", limit=1)["rows"][0]["subject"]
        answer = client.risk(subject, **query)
    r = answer["prediction"]
    print("version", answer["version"][:12])
    if "task" in r:
        t = r["task"]
        if t["applies"]:
            print(f"{t['name']}: {t['probability']:.4f} ({t['agreement']})")
        else:  # dead, or the question is never asked of such a patient
            print(f"{t['name']}: does not apply ({t['reason']})")
    for x in r["outcomes"][:3]:
        spans = [(span, p) for span, p in x["within"].items() if p is not None]  # nothing beyond what anybody like this was followed for
        print(f"  {x['code']}: " + (f"{spans[-1][1]:.4f} within {spans[-1][0]}" if spans else "nobody like this was followed"))


if __name__ == "__main__":
    main()
