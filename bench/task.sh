# Shared by the benchmarks of one task: a site under $work, then train, validate, table and last line. `bar`: conditions on the figures of validate, all of
# which must hold ("auroc>=0.69 auprc>=0.25"); "baseline": AUROC and every score above the baseline, paired interval excluding 0.
bench_site() { mkdir -p "$build/bench-data"; work=$(mktemp -d "$build/bench-data/task-XXXXXX"); trap 'rm -rf "$work"' EXIT; site=$work/site; "$vitae" init "$site" > /dev/null; }
bench_task() { # name task bar size epochs
  local began value peer ratio lo hi verdict=short; began=$(date +%s)
  "$vitae" train "$site" --size "$4" ${5:+--epochs "$5"} --task "$2" --quiet
  "$vitae" validate "$site" --task "$2" --json > "$work/said"
  python3 - "$work/said" "$3" > "$work/figures" << 'P'
import json, sys
v, bar = json.load(open(sys.argv[1]))[0], sys.argv[2]
a, b = v["auroc"], v["baseline_auroc"]
s = v["scores"].values()
if bar == "baseline":
    ok = v["difference_lo"] > 0 and all(x["difference_lo"] > 0 for x in s)
else:
    asked = [c.replace("<=", " <= ").replace(">=", " >= ").split() for c in bar.split()]
    ok = all(v[k] >= float(x) if op == ">=" else v[k] <= float(x) for k, op, x in asked)
print(f"{a:.4f} {b:.4f} {a / b:.4f} {1 + v['difference_lo'] / b:.4f} {1 + v['difference_hi'] / b:.4f} {'ok' if ok else 'short'}")
print(f"held out: {v['n']} moments, {v['events']} cases; 95 % bootstrap over patients")
print(f"{'AUROC':12} {a:.4f} [{v['auroc_lo']:.4f}, {v['auroc_hi']:.4f}]; XGBoost {b:.4f}; difference {v['difference']:+.4f} [{v['difference_lo']:+.4f}, {v['difference_hi']:+.4f}]")
print(f"{'AUPRC':12} {v['auprc']:.4f}; XGBoost {v['baseline_auprc']:.4f}")
print(f"{'Brier':12} {v['brier']:.4f}; XGBoost {v['baseline_brier']:.4f}; calibration slope {v['calibration_slope']:.2f}")
for name, x in v["scores"].items():
    print(f"{name:12} {x['model']:.4f} [{x['model_lo']:.4f}, {x['model_hi']:.4f}]; XGBoost {x['baseline']:.4f}; difference {x['difference']:+.4f} [{x['difference_lo']:+.4f}, {x['difference_hi']:+.4f}]")
P
  tail -n +2 "$work/figures"
  echo "all commands together: $(($(date +%s) - began)) s on $(nproc) cores"
  read -r value peer ratio lo hi verdict < "$work/figures"
  bench_end "$1" "$value" AUROC XGBoost "$peer" "$ratio" "$lo" "$hi" "$3" "$verdict"
}
