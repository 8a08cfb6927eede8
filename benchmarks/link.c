/* A link between two network namespaces, in user space.

   Each namespace gets a TUN device, "link0".  What the client sends passes, in this
   order: random loss, a rate for each of its TCP ports, the common rate, the delay.
   What the server sends passes the delay alone.  Both rates have a queue that is
   measured in time; what would wait longer is dropped, as a router does it.

   usage: link CLIENT_NS SERVER_NS DELAY RATE FLOW_RATE QUEUE LOSS
   Seconds, bytes per second, a probability; a rate of 0 is none.  A byte on stdin asks
   for one line of counters; the end of stdin ends the link.  */

#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MTU = 1500, BATCH = 256, PORTS = 65536 };

static const int64_t SECOND = 1000000000;

/* The shortest sleep: below it the processor would do nothing but wake up.  */
static const int64_t TICK = 100000;

struct packet {
  int64_t due;
  uint64_t order; /* of those that are due together, the first goes first */
  struct packet *next_free;
  uint16_t size;
  unsigned char data[MTU];
};

/* Packets under way, the next one first: a binary heap.  */
struct schedule {
  struct packet **heap;
  size_t count, room;
};

struct counters {
  unsigned long long packets, bytes, lost, dropped;
};

static struct {
  int64_t delay, queue;
  double rate, flow_rate, loss;
} shape;

static struct counters counters;
static struct packet *unused;
static int64_t link_free, flow_free[PORTS];

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * SECOND + t.tv_nsec;
}

/* The last one given back is the first one taken: it is still in the cache.  */
static struct packet *take_packet(void) {
  struct packet *p = unused;
  if (p != NULL)
    unused = p->next_free;
  else if ((p = malloc(sizeof *p)) == NULL)
    err(1, "no memory");
  return p;
}

static void give_back(struct packet *p) {
  p->next_free = unused;
  unused = p;
}

static int is_before(const struct packet *a, const struct packet *b) {
  return a->due != b->due ? a->due < b->due : a->order < b->order;
}

static void push(struct schedule *s, struct packet *p) {
  static uint64_t order;
  p->order = order++;
  if (s->count == s->room) {
    s->room = s->room ? 2 * s->room : 1024;
    s->heap = realloc(s->heap, s->room * sizeof *s->heap);
    if (s->heap == NULL)
      err(1, "no memory");
  }
  size_t at = s->count++;
  while (at > 0 && is_before(p, s->heap[(at - 1) / 2])) {
    s->heap[at] = s->heap[(at - 1) / 2];
    at = (at - 1) / 2;
  }
  s->heap[at] = p;
}

static struct packet *pop(struct schedule *s) {
  struct packet *first = s->heap[0], *last = s->heap[--s->count];
  size_t at = 0, child;
  while ((child = 2 * at + 1) < s->count) {
    if (child + 1 < s->count && is_before(s->heap[child + 1], s->heap[child]))
      child++;
    if (!is_before(s->heap[child], last))
      break;
    s->heap[at] = s->heap[child];
    at = child;
  }
  s->heap[at] = last;
  return first;
}

static int is_due(const struct schedule *s, int64_t time) {
  return s->count > 0 && s->heap[0]->due <= time;
}

/* Queue for a rate that is free again at *FREE; 0 when the queue is full.  */
static int enqueue(struct packet *p, double rate, int64_t *free) {
  int64_t start = *free > p->due ? *free : p->due;
  if (start - p->due > shape.queue) {
    counters.dropped++;
    return 0;
  }
  p->due = *free = start + (int64_t)(p->size / rate * SECOND);
  return 1;
}

static void enter_link(struct schedule *flying, struct packet *p) {
  if (shape.rate > 0 && !enqueue(p, shape.rate, &link_free)) {
    give_back(p);
    return;
  }
  p->due += shape.delay;
  push(flying, p);
}

static int read_packet(int device, struct packet *p) {
  ssize_t size = read(device, p->data, sizeof p->data);
  if (size < 0 && errno != EAGAIN)
    err(1, "read");
  p->size = size > 0 ? size : 0;
  return size > 0;
}

/* A device whose queue is full loses the packet, as any other does.  */
static void deliver(int device, struct schedule *s) {
  for (int64_t time = now(); is_due(s, time);) {
    struct packet *p = pop(s);
    if (write(device, p->data, p->size) < 0)
      counters.dropped++;
    give_back(p);
  }
}

static void take_from_client(int device, struct schedule *shaped,
                             struct schedule *flying) {
  for (int i = 0; i < BATCH; i++) {
    struct packet *p = take_packet();
    if (!read_packet(device, p) || p->data[0] >> 4 != 4) {
      int is_empty = p->size == 0;
      give_back(p);
      if (is_empty)
        return;
      continue; /* IPv6 neighbours look for each other */
    }
    int header = (p->data[0] & 15) * 4;
    int port = p->data[header] << 8 | p->data[header + 1];
    p->due = now();
    counters.packets++;
    counters.bytes += p->size;
    if (shape.loss > 0 && drand48() < shape.loss) {
      counters.lost++;
      give_back(p);
    } else if (shape.flow_rate == 0)
      enter_link(flying, p);
    else if (enqueue(p, shape.flow_rate, &flow_free[port]))
      push(shaped, p);
    else
      give_back(p);
  }
}

static void take_from_server(int device, struct schedule *returning) {
  for (int i = 0; i < BATCH; i++) {
    struct packet *p = take_packet();
    if (!read_packet(device, p)) {
      give_back(p);
      return;
    }
    p->due = now() + shape.delay;
    push(returning, p);
  }
}

static int open_device(const char *namespace) {
  char path[256];
  snprintf(path, sizeof path, "/var/run/netns/%s", namespace);
  int ns = open(path, O_RDONLY | O_CLOEXEC);
  if (ns < 0 || setns(ns, CLONE_NEWNET) < 0)
    err(1, "%s", path);
  close(ns);
  int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  struct ifreq request = {.ifr_name = "link0",
                          .ifr_flags = IFF_TUN | IFF_NO_PI};
  if (device < 0 || ioctl(device, TUNSETIFF, &request) < 0)
    err(1, "/dev/net/tun");
  return device;
}

/* Nanoseconds until the next packet is due; -1 for never.  */
static int64_t wait_of(struct schedule *schedules, int count) {
  int64_t due = INT64_MAX;
  for (int i = 0; i < count; i++)
    if (schedules[i].count > 0 && schedules[i].heap[0]->due < due)
      due = schedules[i].heap[0]->due;
  if (due == INT64_MAX)
    return -1;
  int64_t wait = due - now();
  return wait > TICK ? wait : TICK;
}

static void answer(void) {
  char request[64];
  if (read(STDIN_FILENO, request, sizeof request) <= 0)
    exit(0);
  printf("{\"packets\": %llu, \"bytes\": %llu, \"lost\": %llu, \"dropped\": %llu}\n",
         counters.packets, counters.bytes, counters.lost, counters.dropped);
  fflush(stdout);
  counters = (struct counters){0};
}

int main(int argc, char **argv) {
  if (argc != 8)
    errx(2, "usage: link CLIENT_NS SERVER_NS DELAY RATE FLOW_RATE QUEUE LOSS");
  shape.delay = atof(argv[3]) * SECOND;
  shape.rate = atof(argv[4]);
  shape.flow_rate = atof(argv[5]);
  shape.queue = atof(argv[6]) * SECOND;
  shape.loss = atof(argv[7]);
  srand48(20261121); /* every run loses alike */
  /* A real link does not wait for the processes at its ends; if this may not be, it is
     merely less like one on a busy machine.  */
  setpriority(PRIO_PROCESS, 0, -15);

  int client = open_device(argv[1]), server = open_device(argv[2]);
  struct schedule schedules[3] = {0};
  struct schedule *shaped = &schedules[0], *flying = &schedules[1],
                  *returning = &schedules[2];
  puts("ready");
  fflush(stdout);

  struct pollfd ready[] = {{STDIN_FILENO, POLLIN, 0},
                           {client, POLLIN, 0},
                           {server, POLLIN, 0}};
  for (;;) {
    int64_t wait = wait_of(schedules, 3);
    if (wait == TICK) {
      /* In a busy link there is always something to read: sleep, and let it gather.  */
      nanosleep(&(struct timespec){0, TICK}, NULL);
      wait = 0;
    }
    struct timespec timeout = {wait / SECOND, wait % SECOND};
    if (ppoll(ready, 3, wait < 0 ? NULL : &timeout, NULL) < 0)
      err(1, "ppoll");
    if (ready[0].revents)
      answer();
    if (ready[1].revents)
      take_from_client(client, shaped, flying);
    if (ready[2].revents)
      take_from_server(server, returning);
    for (int64_t time = now(); is_due(shaped, time);)
      enter_link(flying, pop(shaped));
    deliver(server, flying);
    deliver(client, returning);
  }
}
