/* HL7 v2 senders: mllp_bench PORT CONNECTIONS MESSAGES. Every connection sends its messages one after another and waits for each answer, as an
 * interface engine does. Prints: messages answered AA, seconds, median and 99th percentile of the wait in milliseconds. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int port, messages;
struct sender {
  pthread_t thread;
  int no, good;
  double *wait;
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int message(int sender, int n, char *out, size_t size) {
  return snprintf(out, size,
                  "\vMSH|^~\\&|LAB%d|BENCH|VITAE|SITE|20190304050607||ORU^R01^ORU_R01|%ld-%d-%d|P|2.5.1\r"
                  "PID|1||%d^^^HOSP^MR||Doe^Jane||19500615|F|||1 Main Street^^Town^ST^12345^USA||555-0100\r"
                  "PV1|1|I|W1^101^1||||||||||||||||V%d\rORC|RE|%d|%d\rOBR|1|%d|%d|24323-8^Comprehensive metabolic "
                  "panel^LN|||201903050708|||||||||||||||||LAB|F\r"
                  "OBX|1|NM|2160-0^Creatinine^LN||%d.%d|mg/dL|0.6-1.2|N|||F|||201903050708\rOBX|2|NM|2345-7^Glucose^LN||%d|mg/"
                  "dL|70-99|H|||F|||201903050708\r"
                  "OBX|3|NM|2951-2^Sodium^LN||%d|mmol/L|136-145|N|||F|||201903050708\rOBX|4|NM|2823-3^Potassium^LN||4.%d|mmol/"
                  "L|3.5-5.1|N|||F|||201903050708\r"
                  "\x1c\r",
                  sender, (long)getpid(), sender, n, 1000 + sender, sender, n, n, n, n, 1 + n % 3, n % 10, 80 + n % 60, 135 + n % 10,
                  n % 10);
}

static int dial(void) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0) return -1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

static void *run(void *ctx) {
  struct sender *s = ctx;
  char text[4096], answer[8192];
  int fd = dial();
  for (int i = 0; fd >= 0 && i < messages; i++) {
    size_t have = 0;
    double began = now();
    int n = message(s->no, i, text, sizeof text);
    if (send(fd, text, (size_t)n, MSG_NOSIGNAL) != n) break;
    do {
      ssize_t k = recv(fd, answer + have, sizeof answer - 1 - have, 0);
      if (k <= 0) return NULL;
      have += (size_t)k;
    } while (have < 2 || answer[have - 2] != 0x1c);
    answer[have] = 0;
    s->wait[i] = now() - began;
    s->good += strstr(answer, "MSA|AA|") != NULL;
  }
  if (fd >= 0) close(fd);
  return NULL;
}

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  port = atoi(argv[1]), messages = atoi(argv[3]);
  int n = atoi(argv[2]), good = 0;
  struct sender *s = calloc((size_t)n, sizeof *s);
  double *wait = calloc((size_t)n * (size_t)messages, sizeof *wait);
  if (!s || !wait) return 1;
  double began = now();
  for (int i = 0; i < n; i++) {
    s[i] = (struct sender){.no = i, .wait = wait + (size_t)i * (size_t)messages};
    if (pthread_create(&s[i].thread, NULL, run, &s[i]) != 0) return 1;
  }
  for (int i = 0; i < n; i++) pthread_join(s[i].thread, NULL), good += s[i].good;
  double took = now() - began;
  size_t all = (size_t)n * (size_t)messages;
  qsort(wait, all, sizeof *wait, by_size);
  printf("%d %.4f %.3f %.3f\n", good, took, wait[all / 2] * 1e3, wait[all * 99 / 100] * 1e3);
  return good == n * messages ? 0 : 1;
}
