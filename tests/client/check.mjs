// What every client test ends with: check(NAME, FUNCTION) prints a line that scripts/run-tests counts; finish() exits 1 if one failed.
let failed = 0;

export async function check(name, f) {
  try {
    await f();
    console.log(`[       OK ] ${name}`);
  } catch (e) {
    failed++;
    console.log(`${name}: ${e.stack}\n[  FAILED  ] ${name}`);
  }
}
export const finish = () => process.exit(failed ? 1 : 0);
