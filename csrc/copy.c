/* COPYUP: a directory tree, copied with owners, modes, times, attributes and nodes into an empty directory.
 *
 * The source is an image that a stranger wrote: every name is looked at and opened below its own directory without
 * following links, and what was opened is looked at again. Hard links become copies.
 */
#include "executor.h"

enum { DEPTH = 128, READ_FLAGS = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC };

static long copy_content(int from, int to, size length) {
  long n = 0;
  while (length && (n = SYS(sendfile, to, from, 0, length)) > 0)
    length -= (size)n;
  return n < 0 ? n : 0;
}

/* Which attributes a file system takes is its own affair: tmpfs has no user.*, a user namespace no trusted.*. */
static long copy_xattrs(int from, int to) {
  char names[1024], value[1024];
  long n = SYS(flistxattr, from, names, sizeof(names));
  if (n < 0)
    return is_error(n, EOPNOTSUPP) ? 0 : n;
  for (char *name = names; name < names + n; name += length_of(name) + 1) {
    long length = SYS(fgetxattr, from, name, value, sizeof(value));
    long set = length < 0 ? length : SYS(fsetxattr, to, name, value, length, 0);
    if (set < 0 && !is_error(set, EOPNOTSUPP) && !is_error(set, EPERM) && !is_error(set, ENODATA))
      return set;
  }
  return 0;
}

/* Owner before mode, since chown(2) clears set-user-ID; times last, since all else changes them. */
static long copy_meta(int from, int to, const struct stat *stat) {
  struct __kernel_timespec times[2] = {{(long long)stat->st_atime, (long long)stat->st_atime_nsec},
                                       {(long long)stat->st_mtime, (long long)stat->st_mtime_nsec}};
  TRY(SYS(fchown, to, stat->st_uid, stat->st_gid));
  TRY(SYS(fchmod, to, stat->st_mode & 07777));
  TRY(copy_xattrs(from, to));
  return SYS(utimensat, to, 0, times, 0);
}

static long copy_link(int from, int to, const char *name, const struct stat *stat) {
  char target[PATH_MAX];
  long n = SYS(readlinkat, from, name, target, sizeof(target) - 1);
  TRY(n);
  target[n] = 0;
  TRY(SYS(symlinkat, target, to, name));
  return SYS(fchownat, to, name, stat->st_uid, stat->st_gid, AT_SYMLINK_NOFOLLOW);
}

static long copy_dir(int from, int to, int depth);

static long copy_inode(int from, int to, const struct stat *stat, int depth) {
  TRY(S_ISDIR(stat->st_mode) ? copy_dir(from, to, depth - 1) : copy_content(from, to, (size)stat->st_size));
  return copy_meta(from, to, stat);
}

static long open_copy(int to, const char *name, const struct stat *stat) {
  if (S_ISREG(stat->st_mode))
    return SYS(openat, to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  TRY(S_ISDIR(stat->st_mode) ? SYS(mkdirat, to, name, 0700) : -ESTALE); /* swapped since it was looked at */
  return SYS(openat, to, name, READ_FLAGS | O_DIRECTORY);
}

static long copy_opened(int from, int to, const char *name, int depth) {
  struct stat stat;
  long in = SYS(openat, from, name, READ_FLAGS);
  TRY(in);
  long done = SYS(fstat, in, &stat), out = done ? done : open_copy(to, name, &stat);
  if (out >= 0)
    done = copy_inode((int)in, (int)out, &stat, depth);
  close_fd(out);
  SYS(close, in);
  return out < 0 ? out : done;
}

static long copy_entry(int from, int to, const char *name, int depth) {
  struct stat stat;
  TRY(SYS(newfstatat, from, name, &stat, AT_SYMLINK_NOFOLLOW));
  if (S_ISLNK(stat.st_mode))
    return copy_link(from, to, name, &stat);
  if (S_ISREG(stat.st_mode) || S_ISDIR(stat.st_mode))
    return copy_opened(from, to, name, depth);
  return make_node(to, name, stat.st_mode, (unsigned int)stat.st_rdev, stat.st_uid, stat.st_gid);
}

static long copy_dir(int from, int to, int depth) {
  char buffer[1024] __attribute__((aligned(8)));
  long n = depth ? 0 : -ELOOP, done = 0;
  while (!n && (n = SYS(getdents64, from, buffer, sizeof(buffer))) > 0) {
    for (long at = 0; !done && at < n; at += ((struct entry *)(buffer + at))->length) {
      const char *name = ((struct entry *)(buffer + at))->name;
      done = same(name, ".") || same(name, "..") ? 0 : copy_entry(from, to, name, depth);
    }
    n = done;
  }
  return n;
}

long copy_tree(int from, int to) {
  struct stat stat;
  long in = SYS(openat, from, ".", READ_FLAGS | O_DIRECTORY);
  TRY(in);
  long out = SYS(openat, to, ".", READ_FLAGS | O_DIRECTORY);
  long done = out < 0 ? out : SYS(fstat, in, &stat);
  if (!done)
    done = copy_inode((int)in, (int)out, &stat, DEPTH);
  close_fd(out);
  SYS(close, in);
  return done;
}
