/* config.json of published models, in the words of transformers 4 and of 5: the same shape from both, and what is not known is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model/lm_internal.h"

static char dir[64];

static void put(const char *name, const void *bytes, size_t n) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", dir, name);
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  assert_int_equal(fclose(f), 0);
}

static int setup(void **state) {
  (void)state;
  strcpy(dir, "/tmp/vitae-lm-source-XXXXXX");
  if (!mkdtemp(dir)) return -1;
  char file[1024] = {0};
  const char *header = "{\"model.embed_tokens.weight\":{\"dtype\":\"F32\",\"shape\":[8,16],\"data_offsets\":[0,512]}}";
  uint64_t n = strlen(header);
  memcpy(file, &n, sizeof n);
  memcpy(file + sizeof n, header, n);
  put("model.safetensors", file, sizeof n + n + 512);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  char path[128];
  snprintf(path, sizeof path, "%s/model.safetensors", dir), unlink(path);
  snprintf(path, sizeof path, "%s/config.json", dir), unlink(path);
  snprintf(path, sizeof path, "%s/tokenizer_config.json", dir), unlink(path);
  return rmdir(dir);
}

static int shape_of(const char *family, const char *rest, struct lm_shape *out, struct error *e) {
  char config[2048];
  struct lm_source s;
  int n = snprintf(config, sizeof config,
                   "{\"model_type\":\"%s\",\"num_hidden_layers\":12,\"hidden_size\":16,\"num_attention_heads\":2,\"num_key_value_heads\":1,"
                   "\"intermediate_size\":32,\"max_position_embeddings\":512,\"rms_norm_eps\":1e-5%s%s}",
                   family, *rest ? "," : "", rest);
  put("config.json", config, (size_t)n);
  assert_int_equal(lm_source_open(dir, &s, e), OK);
  int rc = lm_shape_read(&s, out, e);
  lm_source_close(&s);
  return rc;
}

static void test_both_ways_to_write(void **state) {
  (void)state;
  static const struct {
    const char *family, *four, *five;
    float base, local;
    int window, period;
  } pair[] = {
      {"llama", "\"rope_theta\":100000.0", "\"rope_parameters\":{\"rope_theta\":100000.0,\"rope_type\":\"default\"}", 1e5f, 1e4f, 0, 1},
      {"llama", "\"rope_theta\":5e5,\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":4.0}",
       "\"rope_parameters\":{\"rope_theta\":5e5,\"rope_type\":\"linear\",\"factor\":4.0}", 5e5f, 1e4f, 0, 1},
      {"llama",
       "\"rope_theta\":5e5,\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":32.0,\"low_freq_factor\":2.0,\"high_freq_factor\":5.0,"
       "\"original_max_position_embeddings\":256}",
       "\"rope_parameters\":{\"rope_theta\":5e5,\"rope_type\":\"llama3\",\"factor\":32.0,\"low_freq_factor\":2.0,\"high_freq_factor\":5.0,"
       "\"original_max_position_embeddings\":256}",
       5e5f, 1e4f, 0, 1},
      {"mistral", "\"rope_theta\":1e6,\"sliding_window\":64",
       "\"rope_parameters\":{\"rope_theta\":1e6,\"rope_type\":\"default\"},\"sliding_window\":64", 1e6f, 1e4f, 64, 1},
      {"gemma3_text", "\"rope_theta\":2e6,\"rope_local_base_freq\":3e4,\"sliding_window\":64,\"sliding_window_pattern\":4",
       "\"rope_parameters\":{\"full_attention\":{\"rope_theta\":2e6,\"rope_type\":\"default\"},\"sliding_attention\":{\"rope_theta\":3e4,"
       "\"rope_type\":\"default\"}},\"sliding_window\":64,\"layer_types\":[\"sliding_attention\",\"sliding_attention\",\"sliding_"
       "attention\","
       "\"full_attention\",\"sliding_attention\",\"sliding_attention\",\"sliding_attention\",\"full_attention\",\"sliding_attention\","
       "\"sliding_attention\",\"sliding_attention\",\"full_attention\"]",
       2e6f, 3e4f, 64, 4},
  };
  for (size_t i = 0; i < sizeof pair / sizeof *pair; i++) {
    struct lm_shape a, b;
    struct error e = {0};
    memset(&a, 0, sizeof a), memset(&b, 0, sizeof b);
    assert_int_equal(shape_of(pair[i].family, pair[i].four, &a, &e), OK);
    assert_int_equal(shape_of(pair[i].family, pair[i].five, &b, &e), OK);
    assert_float_equal(a.rope_base, pair[i].base, 0);
    assert_float_equal(a.rope_base_local, pair[i].local, 0);
    assert_int_equal(a.window, pair[i].window);
    assert_int_equal(a.period, pair[i].period);
    assert_memory_equal(&a, &b, sizeof a);
  }
}

static void test_kinds_of_layers(void **state) {
  (void)state;
  struct lm_shape s;
  struct error e = {0};
  assert_int_equal(shape_of("mistral", "\"sliding_window\":64,\"layer_types\":[\"full_attention\",\"full_attention\"]", &s, &e), OK);
  assert_int_equal(s.window, 0);
  assert_int_equal(shape_of("gemma3_text", "\"sliding_window\":64,\"layer_types\":[\"sliding_attention\",\"sliding_attention\"]", &s, &e),
                   OK);
  assert_int_equal(s.period, 1);
  assert_int_equal(s.window, 64);
}

static void test_template_beside_long_numbers(void **state) {
  (void)state;
  static const char config[] =
      "{\"model_max_length\":1000000000000000019884624838656,\"x\":0.1234567890123456789012,\"y\":1234567890123456789.5,"
      "\"chat_template\":\"a \\\" 12345678901234567890 z\"}";
  struct lm_source s;
  struct lm_shape shape;
  struct arena a;
  struct str template;
  struct error e = {0};
  put("tokenizer_config.json", config, sizeof config - 1);
  assert_int_equal(shape_of("llama", "", &shape, &e), OK);
  assert_int_equal(lm_source_open(dir, &s, &e), OK);
  arena_init(&a, 0, 0);
  assert_int_equal(lm_template_read(&s, &a, &template, &e), OK);
  assert_true(str_eqc(template, "a \" 12345678901234567890 z"));
  arena_free(&a);
  lm_source_close(&s);
}

static void test_refused(void **state) {
  (void)state;
  static const char *const bad[] = {
      "\"rope_parameters\":{\"rope_theta\":1e4,\"rope_type\":\"yarn\",\"factor\":4.0}",
      "\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2.0}",
      "\"rope_parameters\":{\"rope_theta\":-1,\"rope_type\":\"default\"}",
      "\"rope_parameters\":{\"rope_theta\":1e4,\"rope_type\":\"linear\",\"factor\":0.5}",
      "\"sliding_window\":64,\"layer_types\":[\"sliding_attention\",\"full_attention\",\"full_attention\"]",
      "\"sliding_window\":64,\"layer_types\":[\"chunked_attention\"]",
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct lm_shape s;
    struct error e = {0};
    assert_true(shape_of("gemma3_text", bad[i], &s, &e) < 0);
    assert_non_null(strstr(e.message, i < 4 ? "RoPE" : "layer"));
  }
  static const struct {
    const char *family, *config;
    bool right;
  } function[] = {{"llama", "\"hidden_act\":\"silu\"", true},
                  {"llama", "\"hidden_act\":\"gelu\"", false},
                  {"gemma3_text", "\"hidden_act\":\"gelu\",\"hidden_activation\":\"gelu_pytorch_tanh\"", true},
                  {"gemma3_text", "\"hidden_activation\":\"silu\"", false},
                  {"bert", "\"hidden_act\":\"gelu\",\"position_embedding_type\":\"absolute\"", true},
                  {"bert", "\"hidden_act\":\"relu\"", false},
                  {"bert", "\"position_embedding_type\":\"relative_key\"", false}};
  for (size_t i = 0; i < sizeof function / sizeof *function; i++) {
    struct lm_shape s;
    struct error e = {0};
    assert_int_equal(shape_of(function[i].family, function[i].config, &s, &e) == E_INPUT, !function[i].right);
  }
}

/* What is missing is named */
static void test_missing(void **state) {
  (void)state;
  char path[128];
  struct lm_facts facts;
  struct error e = {0};
  snprintf(path, sizeof path, "%s/config.json", dir), unlink(path);
  assert_int_equal(lm_inspect(dir, &facts, &e), E_NOTFOUND);
  assert_non_null(strstr(e.message, "config.json"));
  snprintf(path, sizeof path, "%s/empty", dir);
  assert_int_equal(mkdir(path, 0700), 0);
  assert_int_equal(lm_inspect(path, &facts, &e), E_NOTFOUND);
  assert_non_null(strstr(e.message, ".safetensors"));
  put("empty/description.json", "{}", 2); /* as import leaves one for another server's model */
  assert_int_equal(lm_inspect(path, &facts, &e), E_USAGE);
  assert_non_null(strstr(e.message, "another server"));
  snprintf(path, sizeof path, "%s/empty/description.json", dir), unlink(path);
  snprintf(path, sizeof path, "%s/empty", dir), rmdir(path);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_both_ways_to_write), cmocka_unit_test(test_kinds_of_layers),
                                     cmocka_unit_test(test_template_beside_long_numbers), cmocka_unit_test(test_refused),
                                     cmocka_unit_test(test_missing)};
  return cmocka_run_group_tests(tests, setup, teardown);
}
