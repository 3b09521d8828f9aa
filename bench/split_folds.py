"""One fold of a data set against the rest: split_folds.py ALL OUT K FOLD COLUMN. Persons go by the first byte of the SHA-256 of their number, by K.
A file whose first line has COLUMN is a table of many persons and is divided by rows; any other is one person's, named after the person, and is linked."""
import hashlib, os, sys

every, out, k, fold, column = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
part = lambda person: "fold" if hashlib.sha256(person.encode()).digest()[0] % k == fold else "rest"
for folder, _, files in os.walk(every):
    for name in files:
        source, inside = f"{folder}/{name}", os.path.relpath(folder, every)
        for p in ("fold", "rest"):
            os.makedirs(f"{out}/{p}/{inside}", exist_ok=True)
        with open(source, encoding="latin-1") as f:
            head = f.readline()
            if column in head.rstrip().split(","):
                at = head.rstrip().split(",").index(column)
                with open(f"{out}/fold/{inside}/{name}", "w", encoding="latin-1") as held, open(f"{out}/rest/{inside}/{name}", "w", encoding="latin-1") as rest:
                    held.write(head), rest.write(head)
                    for row in f:
                        (held if part(row.split(",")[at]) == "fold" else rest).write(row)
                continue
        os.link(source, f"{out}/{part(name.split('.')[0])}/{inside}/{name}")
