/* Paths below a root that somebody else filled: each is resolved by the kernel, and used by descriptor from then on. */
#include "executor.h"

enum { OPEN_TRIES = 128, NODE_TRIES = 8, LINKS = 40, IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };

long open_how(int dir, const char *path, const struct open_how *how) {
  long fd = -EAGAIN; /* RESOLVE_IN_ROOT gives it when something is renamed meanwhile: openat2(2) says to try again */
  for (int i = 0; i < OPEN_TRIES && (is_error(fd, EAGAIN) || is_error(fd, EINTR)); i++)
    fd = SYS(openat2, dir, path, how, sizeof(*how));
  return fd;
}

long open_in(int root, const char *path, unsigned int flags) {
  struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = IN_ROOT};
  return open_how(root, *path ? path : ".", &how);
}

static int is_directory(long fd) {
  struct stat stat;
  return !SYS(fstat, fd, &stat) && S_ISDIR(stat.st_mode);
}

static long open_as(int root, const char *path, int kind) {
  long fd = open_in(root, path, O_PATH | (kind ? 0u : (unsigned int)O_DIRECTORY));
  if (fd < 0 || !kind || !is_directory(fd))
    return fd;
  SYS(close, fd);
  return -EISDIR;
}

/* A name that is there and yet could not be resolved is a symbolic link to something missing: the target is made then,
 * inside the root, as runc does. The link's text takes the place of its name.
 */
static long follow(char *path, size name, size end, int parent) {
  char next[PATH_MAX], last = path[end];
  size rest = length_of(path + end) + 1;
  path[end] = 0;
  long n = SYS(readlinkat, parent, path + name, next + name, sizeof(next) - name);
  path[end] = last;
  if (n <= 0)
    return is_error(n, EINVAL) ? 1 : n; /* not a link: made by another just now, so look again */
  size to = name + (size)n, start = next[name] == '/' ? name : 0;
  if (to + rest > sizeof(next))
    return -ENAMETOOLONG;
  copy(next, path, start ? 0 : name);
  copy(next + to, path + end, rest);
  copy(path, next + start, to + rest - start);
  return 1;
}

/* Make the last part of path[0, end), whose parent exists. Return 1 when a link was followed: begin anew then. */
static long make_step(int root, char *path, size name, size end, int kind, unsigned int mode) {
  char first = path[name], last = path[end];
  path[name] = 0;
  long parent = open_in(root, path, O_PATH | O_DIRECTORY);
  path[name] = first;
  TRY(parent);
  path[end] = 0;
  long made = kind && !last ? SYS(mknodat, parent, path + name, S_IFREG | mode, 0)
                            : SYS(mkdirat, parent, path + name, mode | (mode & 0444) >> 2);
  if (is_error(made, EEXIST)) {
    made = open_in(root, path, O_PATH);
    close_fd(made);
    made = made < 0 ? made : 0;
  }
  path[end] = last;
  if (is_error(made, ENOENT))
    made = follow(path, name, end, (int)parent);
  SYS(close, parent);
  return made;
}

static long make_missing(int root, const char *path, int kind, unsigned int mode) {
  char buffer[PATH_MAX];
  size end = 0, n = length_of(path);
  if (n >= sizeof(buffer))
    return -ENAMETOOLONG;
  while (n && path[n - 1] == '/')
    n--; /* a file's name is the last part, whatever follows it */
  copy(buffer, path, n);
  buffer[n] = 0;
  for (int links = 0; links < LINKS;) {
    size name = end;
    while (buffer[name] == '/')
      name++;
    if (!buffer[name])
      return 0;
    for (end = name; buffer[end] && buffer[end] != '/';)
      end++;
    long followed = make_step(root, buffer, name, end, kind, mode);
    TRY(followed);
    if (followed) {
      links++;
      end = 0;
    }
  }
  return -ELOOP;
}

/* Each directory is made by mkdirat in one that openat2 resolved below the root; nothing of the host can be hit, however
 * the tree is swapped meanwhile. The caller's umask has no say in the mode; a directory can be entered by who may read it.
 */
long make_path(int root, const char *path, int kind, unsigned int mode) {
  long fd = open_as(root, path, kind);
  if (!is_error(fd, ENOENT))
    return fd;
  long mask = SYS(umask, 0);
  long made = make_missing(root, path, kind, mode);
  SYS(umask, mask);
  return made < 0 ? made : open_as(root, path, kind);
}

/* Linux before 6.15 clones attached mounts only: there the prepared mount itself is used up by the first cover, and being
 * attached from then on, cloned by the others.
 */
static long mount_clone(int source, int target) {
  long clone = SYS(open_tree, source, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  int from = is_error(clone, EINVAL) ? source : (int)clone;
  TRY(from);
  long moved = SYS(move_mount, from, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
  close_fd(clone);
  return moved;
}

/* ENOENT is for a path that is missing, and only for that: a plan may tolerate it (CVE-2025-31133). */
long cover(int root, const char *path, int file, int dir) {
  long target = open_in(root, path, O_PATH);
  TRY(target);
  long covered = mount_clone(is_directory(target) ? dir : file, (int)target);
  SYS(close, target);
  return is_error(covered, ENOENT) ? -EIO : covered;
}

/* Whoever filled the directory may have put a link there meanwhile: owner and mode go by the fd that was looked at. */
static long own_node(int fd, unsigned int mode, unsigned int dev, unsigned int uid, unsigned int gid) {
  struct stat stat;
  TRY(SYS(fstat, fd, &stat));
  if ((stat.st_mode & S_IFMT) != (mode & S_IFMT) || (stat.st_rdev != dev && (mode & S_IFMT) != S_IFIFO))
    return -EEXIST;
  if (stat.st_uid != uid || stat.st_gid != gid)
    TRY(SYS(fchownat, fd, "", uid, gid, AT_EMPTY_PATH));
  if ((stat.st_mode & 07777) == (mode & 07777))
    return 0;
  return SYS(fchmodat2, fd, "", mode & 07777, AT_EMPTY_PATH);
}

long make_node(int dir, const char *name, unsigned int mode, unsigned int dev, unsigned int uid, unsigned int gid) {
  long made, mask = SYS(umask, 0), tries = NODE_TRIES; /* a default ACL gives it another mode each time */
  do { /* before Linux 6.6, without fchmodat2, no mode can be set on what may be swapped for a link: it is made anew */
    made = SYS(mknodat, dir, name, mode, dev);
    if (made < 0 && !is_error(made, EEXIST))
      break;
    long fd = SYS(openat, dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    made = fd < 0 ? fd : own_node((int)fd, mode, dev, uid, gid);
    SYS(close, fd);
  } while (is_error(made, ENOSYS) && --tries && SYS(unlinkat, dir, name, 0) == 0);
  SYS(umask, mask);
  return made;
}

/* The old root lies on top of the new one after pivot_root(".", "."). It is made a slave before it is detached, or the
 * unmounts would propagate to the host.
 */
static long swap_roots(void) {
  long old = SYS(openat, AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  TRY(old);
  long done = SYS(pivot_root, ".", ".");
  if (!done)
    done = SYS(fchdir, old);
  if (!done)
    done = SYS(mount, 0, ".", 0, MS_SLAVE | MS_REC, 0);
  if (!done)
    done = SYS(umount2, ".", MNT_DETACH);
  SYS(close, old); /* the host's root: not even a plan that tolerates an errno may go on with it */
  return done;
}

long pivot(int root, int how) {
  TRY(how > 1 ? -EINVAL : SYS(fchdir, root));
  TRY(how ? SYS(chroot, ".") : swap_roots());
  return SYS(chdir, "/");
}
