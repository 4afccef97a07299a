/* Write this process's memory to a file from which resume.c makes another process like it. x86-64 only.
 *
 * The code stays where it is, in the interpreter's and the libraries' own files; what is written is data. Python gives the
 * mappings (pyrunc/_snapshot.py); whatever they do not show - registers, signal handlers, what the C library has told the
 * kernel of this thread - is kept here and restored by `resumed`.
 */
#define _GNU_SOURCE
#include "shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <linux/rseq.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "snapshot.h"

#ifdef __x86_64__

#define PAGE 4096UL
#define PARTS_LIMIT 640
#define GAP 8 /* zero pages in a row that are worth a mapping of their own */
#define ARCH_GET_FS 0x1003
#define ARCH_SHSTK_STATUS 0x5005

extern char **environ;

struct action { /* the kernel's struct sigaction */
  uintptr_t handler;
  unsigned long flags, restorer, mask;
};

static struct {
  struct snapshot_context context;
  struct snapshot_part parts[PARTS_LIMIT];
  struct action actions[65];
  unsigned int count;
  unsigned long long end; /* of the file */
  int *tid;
  void *robust;
  size_t robust_length;
  struct rseq *rseq;
  void **curbrk;
  char *const *words;
} snapshot;

/* 0 when it returns for the first time; what resume.c has put into rax when it returns for the second time. */
long pyrunc_context(struct snapshot_context *context);
__asm__(".pushsection .text\n"
        ".globl pyrunc_context\n"
        ".hidden pyrunc_context\n"
        ".type pyrunc_context, @function\n"
        "pyrunc_context:\n"
        "\tmov %rbx, 0(%rdi)\n\tmov %rbp, 8(%rdi)\n\tmov %r12, 16(%rdi)\n\tmov %r13, 24(%rdi)\n"
        "\tmov %r14, 32(%rdi)\n\tmov %r15, 40(%rdi)\n\tlea 8(%rsp), %rax\n\tmov %rax, 48(%rdi)\n"
        "\tmov (%rsp), %rax\n\tmov %rax, 56(%rdi)\n\txor %eax, %eax\n\tret\n"
        ".popsection\n");

/* What the kernel knows of this thread and a new process's kernel does not. 0, or a negative errno: a host or a C library
 * that this does not fit.
 */
static int ask_kernel(void) {
  unsigned long status = 0;
  if (syscall(SYS_arch_prctl, ARCH_SHSTK_STATUS, &status) == 0 && status)
    return -ENOTSUP; /* return addresses on a shadow stack are beyond our reach */
  if (prctl(PR_GET_TID_ADDRESS, &snapshot.tid, 0, 0, 0) < 0 || !snapshot.tid || *snapshot.tid != gettid())
    return -ENOTSUP;
  if (syscall(SYS_get_robust_list, 0, &snapshot.robust, &snapshot.robust_length) < 0 ||
      syscall(SYS_arch_prctl, ARCH_GET_FS, &snapshot.context.fs) < 0)
    return -errno;
  const ptrdiff_t *offset = dlsym(RTLD_DEFAULT, "__rseq_offset");
  const unsigned int *size = dlsym(RTLD_DEFAULT, "__rseq_size");
  snapshot.curbrk = dlsym(RTLD_DEFAULT, "__curbrk");
  if (!snapshot.curbrk)
    return -ENOTSUP;
  snapshot.rseq = offset && size && *size ? (struct rseq *)(snapshot.context.fs + (unsigned long)*offset) : NULL;
  for (int number = 1; number <= 64; number++)
    if (syscall(SYS_rt_sigaction, number, NULL, &snapshot.actions[number], sizeof(unsigned long)) < 0)
      return -errno;
  return 0;
}

/* Python ignores SIGPIPE and handles SIGINT at its start, but leaves SIGINT alone where it was ignored. Signals 32 and 33 are the
 * C library's own; a process that posix_spawn(3) has made ignores them.
 */
static void restore_signals(void) {
  for (int number = 1; number <= 64; number++) {
    struct action now = {0};
    if (!snapshot.actions[number].handler || number == 32 || number == 33)
      continue;
    syscall(SYS_rt_sigaction, number, NULL, &now, sizeof(unsigned long));
    if (now.handler != (uintptr_t)SIG_IGN)
      syscall(SYS_rt_sigaction, number, &snapshot.actions[number], NULL, sizeof(unsigned long));
  }
}

/* In the new process, on the old stack. `stack` is where the kernel has put argc, argv and the environment. */
static long resumed(long stack) {
  *snapshot.tid = (int)syscall(SYS_set_tid_address, snapshot.tid);
  syscall(SYS_set_robust_list, snapshot.robust, snapshot.robust_length);
  if (snapshot.rseq) { /* not registered here: sched_getcpu(3) asks the vdso instead */
    snapshot.rseq->cpu_id_start = 0;
    snapshot.rseq->cpu_id = (unsigned int)RSEQ_CPU_ID_REGISTRATION_FAILED;
  }
  /* The kernel's break is that of the launcher now. brk(2) below its start would even seem to succeed, and malloc(3) take for
   * its own what nobody has mapped: from here on sbrk(3) fails at once, and malloc grows by mmap(2). */
  *snapshot.curbrk = (void *)-1;
  restore_signals();
  snapshot.words = (char *const *)(stack + (long)sizeof(long));
  environ = (char **)(snapshot.words + *(const long *)stack + 1);
  return stack;
}

/* argv[0], ..., NULL, then the environment's strings, NULL; only in a resumed process. */
const char *pyrunc_snapshot_word(unsigned long index) { return snapshot.words[index]; }

static int is_zero(const char *page) {
  const unsigned long *words = (const unsigned long *)page;
  for (unsigned long i = 0; i < PAGE / sizeof(long); i++)
    if (words[i])
      return 0;
  return 1;
}

static int add(unsigned long long address, unsigned long long end, int prot, int source, unsigned long long offset) {
  if (address == end)
    return 0;
  if (snapshot.count == PARTS_LIMIT)
    return -E2BIG;
  snapshot.parts[snapshot.count++] = (struct snapshot_part){address, end - address, offset, prot, source};
  return 0;
}

/* Pages of our own, at the end of the file. */
static int add_own(int fd, unsigned long long address, unsigned long long end, int prot) {
  int done = add(address, end, prot, SNAPSHOT_OWN, snapshot.end);
  while (!done && address < end) {
    long n = pwrite(fd, (const char *)address, end - address, (off_t)snapshot.end);
    if (n < 0)
      return -errno;
    address += (unsigned long long)n;
    snapshot.end += (unsigned long long)n;
  }
  return done;
}

/* Split into what is written and what is zero. */
static int add_data(int fd, unsigned long long address, unsigned long long end, int prot) {
  int done = 0;
  unsigned long long begin = address;
  while (!done && address < end) {
    unsigned long long zero = address;
    while (zero < end && is_zero((const char *)zero))
      zero += PAGE;
    if (zero - address < GAP * PAGE && zero < end) { /* too few to stop for */
      address = zero + PAGE;
      continue;
    }
    done = add_own(fd, begin, address, prot);
    if (!done)
      done = add(address, zero, prot, SNAPSHOT_ZERO, 0);
    address = begin = zero;
  }
  return done ? done : add_own(fd, begin, end, prot);
}

static int add_stack(int fd, const struct snapshot_part *stack) {
  unsigned long long from = snapshot.context.rsp & ~(PAGE - 1), end = stack->address + stack->length;
  int done = add(end - SNAPSHOT_STACK, from, stack->prot, SNAPSHOT_ZERO, 0);
  return done ? done : add_own(fd, from, end, stack->prot);
}

static int add_mappings(int fd, const struct snapshot_part *mappings, unsigned long count) {
  int done = 0;
  for (unsigned long i = 0; !done && i < count; i++) {
    const struct snapshot_part *it = mappings + i;
    unsigned long long end = it->address + it->length;
    if (it->address < snapshot.context.rsp && snapshot.context.rsp < end)
      done = add_stack(fd, it);
    else if (it->source == SNAPSHOT_OWN)
      done = add_data(fd, it->address, end, it->prot);
    else
      done = add(it->address, end, it->prot, it->source, it->offset);
  }
  return done;
}

static int write_head(int fd, struct snapshot_head *head, const struct snapshot_file *files, const char *paths,
                      unsigned long paths_length) {
  unsigned long files_length = head->files * sizeof(*files), parts_length = snapshot.count * sizeof(*snapshot.parts);
  head->magic = SNAPSHOT_MAGIC;
  head->parts = snapshot.count;
  head->context = (uintptr_t)&snapshot.context;
  head->paths = (unsigned int)(sizeof(*head) + files_length + parts_length);
  head->length = (unsigned int)(head->paths + paths_length);
  if (head->length > SNAPSHOT_HEAD)
    return -E2BIG;
  struct {
    const void *data;
    unsigned long length;
  } pieces[] = {{head, sizeof(*head)}, {files, files_length}, {snapshot.parts, parts_length}, {paths, paths_length}};
  long at = 0;
  for (int i = 0; i < 4; i++) {
    if (pwrite(fd, pieces[i].data, pieces[i].length, at) != (long)pieces[i].length)
      return -EIO;
    at += (long)pieces[i].length;
  }
  return 0;
}

/* Are the mappings still those that Python has read? Its own work may have grown the heap. */
static int unchanged(const char *maps, unsigned long length) {
  static char now[65536];
  unsigned long got = 0;
  int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return 0;
  for (long n = 1; n > 0 && got < sizeof(now); got += (unsigned long)(n > 0 ? n : 0))
    n = read(fd, now + got, sizeof(now) - got);
  close(fd);
  return got == length && !memcmp(now, maps, length);
}

/* Return 0 when the file is written, a negative errno when it cannot be (-EAGAIN: `maps` has changed), and an address above 0
 * in the process that the file was made to be. `mappings` are as in the file, `maps` is the text that they were read from.
 */
long pyrunc_snapshot_save(int fd, const char *boot, unsigned long vdso, const char *files, unsigned int files_count,
                          const char *paths, unsigned long paths_length, const char *mappings, unsigned long count,
                          const char *maps, unsigned long maps_length) {
  struct snapshot_head head = {.files = files_count, .vdso = vdso};
  int failed = ask_kernel();
  if (failed)
    return failed;
  if (!unchanged(maps, maps_length))
    return -EAGAIN;
  long stack = pyrunc_context(&snapshot.context);
  if (stack)
    return resumed(stack); /* nothing of this frame but its return address is as it was */
  memcpy(head.boot, boot, SNAPSHOT_BOOT);
  snapshot.count = 0;
  snapshot.end = SNAPSHOT_HEAD;
  failed = add_mappings(fd, (const struct snapshot_part *)mappings, count);
  return failed ? failed : write_head(fd, &head, (const struct snapshot_file *)files, paths, paths_length);
}

#else

/* aarch64 signs return addresses with keys that each process has for itself: what lies on the stack is of no use to another. */
long pyrunc_snapshot_save(int fd, const char *boot, unsigned long vdso, const char *files, unsigned int files_count,
                          const char *paths, unsigned long paths_length, const char *mappings, unsigned long count,
                          const char *maps, unsigned long maps_length) {
  (void)fd, (void)boot, (void)vdso, (void)files, (void)files_count, (void)paths, (void)paths_length;
  (void)mappings, (void)count, (void)maps, (void)maps_length;
  return -ENOTSUP;
}

const char *pyrunc_snapshot_word(unsigned long index) { return (void)index, NULL; }

#endif
