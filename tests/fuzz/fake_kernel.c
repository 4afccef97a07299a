/* A kernel for the executor that answers by the bytes of a fuzzer's input: each call succeeds, or fails with any errno, and
 * what a stranger has a say in (file types, names, links, what a peer sends) is the stranger's. It keeps to the kernel's own
 * promises, no others: lengths fit the buffers, names end, a descriptor is open or is not.
 *
 * With no bytes left everything succeeds, so that a good plan alone comes to its EXEC.
 */
#define FAKE_KERNEL_IMPLEMENTATION
#include "fake_kernel.h"

#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <setjmp.h>

#undef syscall
#undef start_thread

void *malloc(size n);
void *calloc(size n, size each);
void free(void *p);
void *memcpy(void *restrict to, const void *restrict from, size n);
void *memset(void *to, int byte, size n);
_Noreturn void abort(void);
int dprintf(int fd, const char *format, ...);

enum { FILES = 1100, MAPS = 64, PATIENCE = 5000, NAMES = 200, TALK = 3, PLAN = 4, PID = 4242 };

extern jmp_buf kernel_exit;
jmp_buf kernel_exit;
int kernel_ended;

static struct {
  const unsigned char *feed, *plan;
  size left, plan_length;
  int calls, mapped, waits, names, asked, count; /* asked: descriptors that the last question wants; count: those that are open */
  unsigned char open[FILES];
  void *maps[MAPS];
  int map_count;
  struct { int call, error, again; long number; } fails[3];
  struct { void (*function)(void *); void *data; int *tid; } thread;
  jmp_buf thread_exit;
  int in_thread;
} k;

static int one = EPERM;
int *fake_errno_location(void);
int *fake_errno_location(void) { return &one; } /* a result of -1 is EPERM, and taken for a failure of libc's */

static unsigned int byte(void) {
  if (!k.left)
    return 0;
  k.left--;
  return *k.feed++;
}

static void take(void *to, size n) {
  for (size i = 0; i < n; i++)
    ((unsigned char *)to)[i] = (unsigned char)byte();
}

_Noreturn static void end(int how) {
  kernel_ended = how;
  longjmp(kernel_exit, 1);
}

/* Most bytes are success, or nothing would come far. */
static long failure(void) {
  static const short errnos[] = {EPERM, ENOENT, EINTR, EBADF, EAGAIN, EACCES, EEXIST, ENOTDIR, EISDIR, EINVAL, ENOSYS, ELOOP,
                                 EOPNOTSUPP, ENODATA, ENOSPC, ENOMEM, EXDEV, ECONNRESET, ECONNABORTED, ENAMETOOLONG, ESTALE};
  unsigned int n = byte();
  return n < 224 ? 0 : n < 254 ? -errnos[n % (sizeof(errnos) / sizeof(errnos[0]))] : -(long)(1 + byte());
}

static void set_open(long fd, int yes) {
  k.count += yes - k.open[fd];
  k.open[fd] = (unsigned char)yes;
}

static long open_from(long low) {
  for (long fd = low; fd >= 0 && fd < FILES; fd++)
    if (!k.open[fd]) {
      set_open(fd, 1);
      return fd;
    }
  return -EMFILE;
}

static int is_open(long fd) { return fd >= 0 && fd < FILES && k.open[fd]; }

int kernel_open_count(void) { return k.count; }

static long close_one(long fd) {
  if (fd < 0)
    return -EBADF;
  if (!is_open(fd) && k.in_thread)
    return -EBADF; /* a plan may call one slot both agent and state: nothing is opened between the two closes */
  if (!is_open(fd)) {
    dprintf(2, "descriptor %ld is closed twice\n", fd);
    abort();
  }
#ifdef FORGETFUL
  if (k.calls > 20)
    return 0; /* as if nobody had closed it: for the test of what looks for that */
#endif
  set_open(fd, 0);
  k.mapped |= fd == PLAN; /* the number is another file's from then on */
  return 0;
}

static long do_fcntl(long fd, long command, long arg) {
  if (!is_open(fd))
    return -EBADF;
  if (command == F_DUPFD_CLOEXEC)
    return open_from(arg);
  return command == F_GET_SEALS ? (byte() < 250 ? 0xf : 0) : 0;
}

static long do_dup3(long from, long to) {
  if (!is_open(from) || to < 0 || to >= FILES)
    return -EBADF;
  if (from == to)
    return -EINVAL;
  set_open(to, 1);
  return to;
}

static long do_stat(long fd, struct stat *stat) {
  static const unsigned int kinds[] = {S_IFDIR, S_IFREG, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK};
  memset(stat, 0, sizeof(*stat));
  stat->st_mode = kinds[byte() % 7] | 0755;
  stat->st_size = byte() * 16;
  if (fd == PLAN && !k.mapped) {
    stat->st_size = (long)k.plan_length;
    return 0;
  }
  unsigned int rest = byte();
  stat->st_mode ^= rest & 07777;
  stat->st_rdev = rest & 1 ? 0x502 : rest; /* ptmx is one of those that matter */
  stat->st_ino = rest & 2 ? 2 : rest;
  stat->st_uid = rest & 4 ? ~0u : 0;
  return 0;
}

static long do_mmap(size length, long fd) {
  if (!length)
    return -EINVAL;
  if (k.map_count == MAPS || length > 1 << 24)
    return -ENOMEM;
  char *at = calloc(length, 1);
  k.maps[k.map_count++] = at;
  if (fd == PLAN && !k.mapped)
    memcpy(at, k.plan, length < k.plan_length ? length : k.plan_length);
  else if (fd >= 0)
    take(at, length < 64 ? length : 64); /* then NULs */
  return (long)at;
}

static long text(char *to, size room, int terminated) {
  size n = 1 + byte() % 63;
  if (byte() > 240)
    n = room;
  if (n > room)
    n = room;
  for (size i = 0; i < n; i++) {
    unsigned int c = byte();
    to[i] = c ? (char)(c & 1 ? '/' : c) : 'x';
  }
  if (terminated && n)
    to[n - 1] = 0;
  return (long)n;
}

static long do_getcwd(char *to, size room) {
  static const char inside[] = "/work", outside[] = "(unreachable)/";
  const char *path = byte() < 128 ? inside : outside;
  size n = length_of(path) + 1;
  if (n > room)
    return -ERANGE;
  copy(to, path, n);
  return (long)n;
}

static long do_getdents(char *to, size room) {
  size at = 0;
  for (unsigned int n = byte() % 4; n-- && k.names++ < NAMES;) { /* even the largest tree has an end */
    char name[256];
    long length = text(name, 255, 0);
    for (long i = 0; i < length; i++)
      name[i] = name[i] == '/' ? '.' : name[i]; /* no name has one */
    name[length ? length : 1] = 0;
    if (!length)
      name[0] = '.';
    size whole = (__builtin_offsetof(struct entry, name) + length_of(name) + 1 + 7) & ~(size)7;
    if (at + whole > room)
      break;
    struct entry *entry = (struct entry *)(to + at);
    entry->length = (unsigned short)whole;
    copy(entry->name, name, length_of(name) + 1);
    at += whole;
  }
  return (long)at;
}

static long do_recvmsg(struct message *message) {
  struct talk_answer answer = {0, (unsigned int)k.asked};
  struct control *control = message->control;
  unsigned int odd = byte();
  int count = k.asked;
  size length = sizeof(answer);
  if (odd > 200)
    count = (int)(byte() % 64);
  if (odd > 220)
    answer.error = (int)byte();
  if (odd > 230)
    length = byte() % (sizeof(answer) + 1);
  copy(message->parts[0].iov_base, (const char *)&answer, length);
  message->flags = odd == 229 ? MSG_CTRUNC : 0;
  if (!count) {
    message->control_length = 0;
    return (long)length;
  }
  for (int i = 0; i < count; i++)
    if ((control->fds[i] = (int)open_from(0)) < 0)
      count = i;
  control->length = CONTROL_LENGTH(count);
  control->level = odd == 228 ? 99 : SOL_SOCKET;
  control->type = odd == 227 ? 99 : SCM_RIGHTS;
  if (odd == 228 || odd == 227)
    while (count--)
      set_open(control->fds[count], 0);
  message->control_length = control->length;
  return (long)length;
}

static void note_question(const struct talk_message *question, size length) {
  const struct plan_header *header = (const struct plan_header *)k.plan;
  if (length != sizeof(*question) || question->kind != TALK_RPC || question->op >= header->ops)
    return;
  struct plan_record record; /* the input is not aligned */
  memcpy(&record, k.plan + sizeof(*header) + question->op * sizeof(record), sizeof(record));
  k.asked = (int)record.a[2];
}

static long do_sendmsg(const struct message *message) {
  size length = message->parts[0].iov_len;
  note_question(message->parts[0].iov_base, length);
  return byte() > 240 ? (long)(length / 2) : (long)length;
}

static long do_pipe(int *fds) {
  long a = open_from(0), b = open_from(0);
  if (b < 0) {
    if (a >= 0)
      set_open(a, 0);
    return -EMFILE;
  }
  fds[0] = (int)a;
  fds[1] = (int)b;
  return 0;
}

/* The courier runs when the filter is on, as if the process had waited for it. */
long fake_start_thread(char *top, void (*function)(void *), void *data, int *tid) {
  long error = failure();
  if (error)
    return error;
  top[-1] = 0; /* it is a stack that can be written to */
  k.thread.function = function;
  k.thread.data = data;
  k.thread.tid = tid;
  return PID + 1;
}

struct courier_of_seccomp { struct run *run; const char *state; size length; int agent; volatile int listener; };

static long do_seccomp(long flags, long error) {
  long result = error ? error : flags & SECCOMP_FILTER_FLAG_NEW_LISTENER ? open_from(1) : 0;
  if (!k.thread.function)
    return result;
  ((struct courier_of_seccomp *)k.thread.data)->listener = result > 0 ? (int)result : -1;
  k.in_thread = 1;
  if (!setjmp(k.thread_exit))
    k.thread.function(k.thread.data);
  k.in_thread = 0;
  *k.thread.tid = 0;
  k.thread.function = 0;
  return result;
}

static void do_close_range(long first, long last, long flags) {
  if (!flags)
    for (long fd = first; fd < FILES && fd <= (last & 0xffffffff); fd++)
      set_open(fd, 0);
}

static long do_execve(char *const *argv, char *const *envp) {
  for (int vector = 0; vector < 2; vector++)
    for (char *const *p = vector ? envp : argv; *p; p++)
      one += (int)(length_of(*p) & 0); /* all of it can be read */
  end(2);
}

static int never_fails(long number) {
  return number == __NR_exit_group || number == __NR_exit || number == __NR_close || number == __NR_umask;
}

static long answer(long number, long a, long b, long c, long d, long error) {
  switch (number) {
  case __NR_exit_group:
    end(1);
  case __NR_exit:
    longjmp(k.thread_exit, 1);
  case __NR_close:
    return close_one(a);
  case __NR_close_range:
    do_close_range(a, b, c);
    return 0;
  case __NR_fcntl:
    return do_fcntl(a, b, c);
  case __NR_dup3:
    return do_dup3(a, b);
  case __NR_openat: case __NR_openat2: case __NR_open_tree: case __NR_fsopen: case __NR_fsmount: case __NR_socket:
  case __NR_accept4: case __NR_pidfd_open:
    return open_from(0);
  case __NR_ioctl:
    return b == TIOCGPTPEER ? open_from(0) : (long)(byte() & 1);
  case __NR_fstat:
    return do_stat(a, (struct stat *)b);
  case __NR_newfstatat:
    return do_stat(-1, (struct stat *)c);
  case __NR_fstatfs: {
    struct statfs *statfs = (struct statfs *)b;
    memset(statfs, 0, sizeof(*statfs));
    statfs->f_type = byte() & 1 ? PROC_SUPER_MAGIC : DEVPTS_SUPER_MAGIC;
    return 0;
  }
  case __NR_mmap:
    return do_mmap((size)b, (int)d);
  case __NR_readlinkat:
    return text((char *)c, (size)d, 0);
  case __NR_getcwd:
    return do_getcwd((char *)a, (size)b);
  case __NR_getdents64:
    return do_getdents((char *)b, (size)c);
  case __NR_flistxattr:
    return text((char *)b, (size)c, 1);
  case __NR_fgetxattr:
    return text((char *)c, (size)d, 0);
  case __NR_sendfile:
    return byte() > 200 ? 0 : d < 7 ? d : 7;
  case __NR_read:
    take((void *)b, (size)c);
    return byte() > 128 ? c : 0;
  case __NR_write:
    return byte() > 240 ? c / 2 : c;
  case __NR_recvmsg:
    return do_recvmsg((struct message *)b);
  case __NR_sendmsg:
    return do_sendmsg((const struct message *)b);
  case __NR_sendto:
    note_question((const struct talk_message *)b, (size)c);
    return c;
  case __NR_pipe2:
    return do_pipe((int *)a);
  case __NR_clone:
    return (byte() & 1) == !(a & CLONE_PARENT) ? 0 : PID; /* by itself: the child of FORK, the parent of SPAWN */
  case __NR_wait4:
    *(int *)b = (int)byte() << 8;
    return a;
  case __NR_ppoll:
    return byte() < 200;
  case __NR_execve:
    return do_execve((char *const *)b, (char *const *)c);
  case __NR_seccomp:
    return do_seccomp(b, error);
  case __NR_prctl:
    return byte() & 1;
  case __NR_umask:
    return 022;
  default:
    return 0;
  }
}

/* A call that is interrupted for ever is made for ever, and WAIT waits for ever; nothing else may. */
_Noreturn static void give_up(long number, long error) {
  if (error != -EINTR && !k.waits) {
    dprintf(2, "no end: the last call has number %ld and returns %ld\n", number, error);
    abort();
  }
  end(3);
}

/* What kernel_fail has asked for. */
static long ordered(long number) {
  int now = k.calls + 1;
  for (int i = 0; i < 3; i++) {
    if (now == k.fails[i].call)
      k.fails[i].number = number;
    if (now == k.fails[i].call || (k.fails[i].again && now > k.fails[i].call && number == k.fails[i].number))
      return -k.fails[i].error;
  }
  return 0;
}

long fake_syscall(long number, ...) {
  long a[6];
  __builtin_va_list rest;
  __builtin_va_start(rest, number);
  for (int i = 0; i < 6; i++)
    a[i] = __builtin_va_arg(rest, long);
  __builtin_va_end(rest);
  long error = never_fails(number) ? 0 : ordered(number);
  k.waits |= number == __NR_accept4;
  if (k.calls++ > PATIENCE)
    give_up(number, error);
  if (!error && !never_fails(number))
    error = failure();
  if (error && number != __NR_seccomp)
    return error;
  return answer(number, a[0], a[1], a[2], number == __NR_mmap ? a[4] : a[3], error);
}

void kernel_boot(const unsigned char *plan, size plan_length, const unsigned char *feed, size feed_length, int inputs) {
  memset(&k, 0, sizeof(k));
  k.plan = plan;
  k.plan_length = plan_length;
  k.feed = feed;
  k.left = feed_length;
  kernel_ended = 0;
  for (int fd = 0; fd <= PLAN + inputs; fd++)
    set_open(fd, 1);
}

void kernel_fail(int call, int error, int again) {
  int i = k.fails[0].call ? k.fails[1].call ? 2 : 1 : 0;
  k.fails[i].call = call;
  k.fails[i].error = error;
  k.fails[i].again = again;
}

void kernel_close_stdin(void) { set_open(0, 0); }

int kernel_calls(void) { return k.calls; }

void kernel_shutdown(void) {
  while (k.map_count)
    free(k.maps[--k.map_count]);
}
