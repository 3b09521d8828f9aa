# Shared by the benchmarks of one task: a site under $work, then train, validate, table and last line. `bar`: conditions on the figures of validate, all of
# which must hold ("auroc>=0.69 auprc>=0.25").
bench_work() { mkdir -p "$build/bench-data"; work=$(mktemp -d "$build/bench-data/task-XXXXXX"); trap 'rm -rf "$work"' EXIT; mkdir "$work/all"; }
bench_site() { bench_work; site=$work/site; "$vitae" init "$site" > /dev/null; }
bench_task() { # name task bar size epochs
  local began value peer ratio lo hi verdict=short; began=$(date +%s)
  "$vitae" train "$site" --size "$4" ${5:+--epochs "$5"} --task "$2" --quiet
  "$vitae" validate "$site" --task "$2" --json > "$work/said"
  python3 - "$work/said" "$3" > "$work/figures" << 'P'
import json, sys
v, bar = json.load(open(sys.argv[1]))[0], sys.argv[2]
a, b = v["auroc"], v["baseline_auroc"]
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

# The same in K folds by person: everything under $work/all is divided, each fold in turn is ingested as held_out, the others as train+tuning (a directory after the
# other), and everything (columns, rounds, weights, calibration, thresholds) is chosen without the fold. A fold's interval is the bootstrap over its persons; folds
# share no held-out person, so the standard error of the mean difference is the root of the sum of their squares, by K. `bar` as above, on the means,
# or "baseline": AUROC and every score above the baseline, interval excluding 0.
bench_folds() { # name task mapping column-of-persons bar folds-of-K-to-run K size
  local name=$1 task=$2 mapping=$3 column=$4 bar=$5 run=$6 k=$7 size=$8 f d part value peer ratio lo hi verdict=short
  for ((f = 0; f < run; f++)); do
    site=$work/site$f
    "$vitae" init "$site" > /dev/null
    python3 bench/split_folds.py "$work/all" "$work/parts" "$k" "$f" "$column"
    for part in rest:train+tuning fold:held_out; do
      for d in "$work/parts/${part%:*}"/*/; do "$vitae" ingest "$site" "${d%/}" --from csv --mapping "$mapping" --split "${part#*:}" --quiet > /dev/null; done
    done
    "$vitae" train "$site" --size "$size" --task "$task" --quiet > /dev/null
    "$vitae" validate "$site" --task "$task" --json > "$work/said$f"
    rm -r "$site" "$work/parts"
  done
  python3 - "$work" "$run" "$k" "$bar" > "$work/figures" << 'P'
import json, sys
work, run, k, bar = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
v = [json.load(open(f"{work}/said{f}"))[0] for f in range(run)]
mean = lambda l: sum(l) / len(l)
means, table, above = {}, [], True
for name in ["auroc"] + list(v[0]["scores"]):
    folds = [(x["auroc"], x["baseline_auroc"], x) if name == "auroc" else (x["scores"][name]["model"], x["scores"][name]["baseline"], x["scores"][name]) for x in v]
    m, b, d = [x[0] for x in folds], [x[1] for x in folds], mean([x[2]["difference"] for x in folds])
    error = sum(((x[2]["difference_hi"] - x[2]["difference_lo"]) / 2) ** 2 for x in folds) ** .5 / run
    if name == "auroc":
        first = f"{mean(m):.4f} {mean(b):.4f} {mean(m) / mean(b):.4f} {1 + (d - error) / mean(b):.4f} {1 + (d + error) / mean(b):.4f}"
    above &= d - error > 0
    means[name] = mean(m)
    table.append(f"{name:12} {mean(m):8.4f} [{min(m):.4f}, {max(m):.4f}]  XGBoost {mean(b):8.4f}; difference {d:+.4f} [{d - error:+.4f}, {d + error:+.4f}]; by fold "
                 + ", ".join(f"{x[2]['difference']:+.4f}" for x in folds))
for name in ("auprc", "brier"):
    m = [x[name] for x in v]
    means[name] = mean(m)
    table.append(f"{name:12} {mean(m):8.4f} [{min(m):.4f}, {max(m):.4f}]  XGBoost {mean([x['baseline_' + name] for x in v]):8.4f}")
m = [x["calibration_slope"] for x in v]
table.append(f"{'slope':12} {mean(m):8.4f} [{min(m):.4f}, {max(m):.4f}]")
if bar == "baseline":
    ok = above
else:
    asked = [c.replace("<=", " <= ").replace(">=", " >= ").split() for c in bar.split()]
    ok = all(means[key] >= float(x) if op == ">=" else means[key] <= float(x) for key, op, x in asked)
print(first, "ok" if ok else "short")
print(f"{run} of {k} folds; held out, all together: {sum(x['n'] for x in v)} moments, {sum(x['events'] for x in v)} cases; mean [least, most] over folds, difference with its 95 % interval")
print("\n".join(table))
P
  tail -n +2 "$work/figures"
  read -r value peer ratio lo hi verdict < "$work/figures"
  bench_end "$name" "$value" AUROC XGBoost "$peer" "$ratio" "$lo" "$hi" "$bar" "$verdict"
}
