/* Become the interpreter that save.c has kept: map its memory, take its registers. See snapshot.h.
 *
 * Whatever does not fit - another boot, a package that was updated, an address that is taken - ends this attempt, and the
 * launcher starts Python in the ordinary way: execve(2) makes all that was mapped until then go away. The file is as
 * trusted as a module of Python's: the caller's own, in a directory of the caller's own, that nobody else can write.
 */
#include "launcher.h"
#include "snapshot.h"

#ifdef __x86_64__

#define VDSO_REACH 0x100000UL
enum { AT_SYSINFO_EHDR = 33, ARCH_SET_FS = 0x1002, WRITABLE_BY_OTHERS = 022 };

union table {
  struct snapshot_head head;
  char bytes[SNAPSHOT_HEAD];
};

static int is_ours(long fd, unsigned int type) {
  struct stat found;
  return !SYS(fstat, fd, &found) && found.st_uid == (unsigned int)SYS(geteuid) && (found.st_mode & S_IFMT) == type &&
         !(found.st_mode & WRITABLE_BY_OTHERS);
}

/* The snapshot, or -1. */
static long open_snapshot(const char *dir, const char *name) {
  long at = SYS(openat, AT_FDCWD, dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (at < 0)
    return -1;
  long fd = is_ours(at, S_IFDIR) ? SYS(openat, at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;
  close_fd(at);
  if (fd >= 0 && is_ours(fd, S_IFREG))
    return fd;
  close_fd(fd);
  return -1;
}

static int fits_this_boot(const struct snapshot_head *head) {
  char boot[SNAPSHOT_BOOT] = {0};
  long fd = SYS(openat, AT_FDCWD, "/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  long n = fd < 0 ? -1 : SYS(read, fd, boot, sizeof(boot));
  close_fd(fd);
  if (n != sizeof(boot))
    return 0;
  for (unsigned int i = 0; i < sizeof(boot); i++)
    if (boot[i] != head->boot[i])
      return 0;
  return 1;
}

static int read_table(long fd, union table *table) {
  const struct snapshot_head *head = &table->head;
  return SYS(pread64, fd, table, sizeof(*table), 0) == sizeof(*table) && head->magic == SNAPSHOT_MAGIC &&
         head->length <= sizeof(*table) && fits_this_boot(head);
}

static const struct snapshot_file *files_of(const union table *table) {
  return (const struct snapshot_file *)(const void *)(table->bytes + sizeof(table->head));
}

/* The file that stood there when the snapshot was made, or -1. */
static long open_same(const char *path, const struct snapshot_file *want) {
  struct stat found;
  long fd = SYS(openat, AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0)
    return -1;
  if (!SYS(fstat, fd, &found) && found.st_dev == want->dev && found.st_ino == want->ino &&
      (unsigned long long)found.st_size == want->size && found.st_mtime == want->mtime &&
      found.st_mtime_nsec == want->mtime_nsec && found.st_ctime == want->ctime && found.st_ctime_nsec == want->ctime_nsec)
    return fd;
  close_fd(fd);
  return -1;
}

static int map(const struct snapshot_part *part, long fd) {
  long flags = MAP_PRIVATE | MAP_FIXED_NOREPLACE | (fd < 0 ? MAP_ANONYMOUS | MAP_NORESERVE : 0);
  return SYS(mmap, part->address, part->length, part->prot, flags, fd, part->offset) == (long)part->address;
}

/* All parts that come from one source. */
static int map_parts(const union table *table, int source, long fd) {
  const struct snapshot_part *parts = (const void *)(files_of(table) + table->head.files);
  for (unsigned int i = 0; i < table->head.parts; i++)
    if (parts[i].source == source && !map(parts + i, fd))
      return 0;
  return 1;
}

static int map_files(const union table *table) {
  const char *path = table->bytes + table->head.paths;
  const struct snapshot_file *files = files_of(table);
  for (unsigned int i = 0; i < table->head.files; i++) {
    long fd = open_same(path, files + i);
    int done = fd >= 0 && map_parts(table, (int)i, fd);
    close_fd(fd);
    if (!done)
      return 0;
    path += length_of(path) + 1;
  }
  return 1;
}

static unsigned long own_vdso(const long *stack) {
  const long *at = stack + 1 + stack[0] + 1; /* argc, argv, NULL; then the environment */
  while (*at++)
    continue;
  for (; at[0]; at += 2)
    if (at[0] == AT_SYSINFO_EHDR)
      return (unsigned long)at[1];
  return 0;
}

/* The C library has kept the addresses of functions in the vdso: it moves to where it was. */
static int move_vdso(const union table *table, unsigned long own) {
  const struct snapshot_part *parts = (const void *)(files_of(table) + table->head.files);
  unsigned long old = table->head.vdso;
  if (!old != !own || (own < old ? old - own : own - old) < VDSO_REACH)
    return !old && !own;
  for (unsigned int i = 0; i < table->head.parts; i++) {
    const struct snapshot_part *it = parts + i;
    if (it->source != SNAPSHOT_VDSO)
      continue;
    if (!map(it, -1)) /* to see that nothing is there */
      return 0;
    unsigned long from = own + it->address - old;
    if (SYS(mremap, from, it->length, it->length, MREMAP_MAYMOVE | MREMAP_FIXED, it->address) != (long)it->address)
      return 0;
  }
  return 1;
}

static void enter_snapshot(const struct snapshot_context *context, const long *stack) {
  if (SYS(arch_prctl, ARCH_SET_FS, context->fs) < 0)
    return;
  __asm__ volatile("mov 0(%[c]), %%rbx\n\tmov 8(%[c]), %%rbp\n\tmov 16(%[c]), %%r12\n\tmov 24(%[c]), %%r13\n\t"
                   "mov 32(%[c]), %%r14\n\tmov 40(%[c]), %%r15\n\tmov 48(%[c]), %%rsp\n\tjmp *56(%[c])"
                   :
                   : [c] "d"(context), "a"(stack)
                   : "memory");
  __builtin_unreachable();
}

void resume(const char *dir, const char *name, const long *stack) {
  union table table;
  long fd = open_snapshot(dir, name);
  if (fd < 0)
    return;
  int done = read_table(fd, &table) && map_parts(&table, SNAPSHOT_OWN, fd);
  close_fd(fd);
  if (done && map_files(&table) && map_parts(&table, SNAPSHOT_ZERO, -1) && move_vdso(&table, own_vdso(stack)))
    enter_snapshot((const struct snapshot_context *)table.head.context, stack); /* its page is one of those mapped */
}

#else

void resume(const char *dir, const char *name, const long *stack) { (void)dir, (void)name, (void)stack; }

#endif
