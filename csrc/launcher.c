/* The installed `pyrunc` command: find the interpreter and the package beside us, and start them isolated.
 *
 * Engines run us as root, some with an empty environment, no PATH and closed descriptors, from a directory that a stranger
 * may have filled. So nothing is searched for but relative to our own file; -I and -S keep PYTHON* variables, the current
 * directory, site-packages' .pth files and the user's own packages out. The environment is otherwise handed on as it is, but
 * for two variables: hooks inherit it.
 */
#include "launcher.h"

enum { SPARE_ARGS = 16, HEX_DIGITS = 16, LONGEST_RUNTIME_DIR = 1024, OVERFLOW_UID = 65534 };

static const char word_before[] = "snapshot=";

static const char *const flags[] = {"-I", "-S", "-B", "-X", "utf8"};

/* Where pip puts packages, relative to the prefix; the last is `pip install --target`, and a checkout. */
static const char places[][48] = {
  PLATLIB, "lib/" PYTHON_NAME "/site-packages", "lib64/" PYTHON_NAME "/site-packages",
  "local/lib/" PYTHON_NAME "/dist-packages", "lib/" PYTHON_NAME "/dist-packages", "lib/python3/dist-packages", ".",
};

/* With these CPython looks for its own library beside a path of the caller's choice, whatever -I says. */
static const char heeded[][24] = {"PYTHONEXECUTABLE=", "__PYVENV_LAUNCHER__="};

static void say(const char *text) { SYS(write, 2, text, length_of(text)); }

_Noreturn static void refuse(const char *what, const char *path, const char *why) {
  say("pyrunc: ");
  say(what);
  say(path);
  say(why);
  say("\n");
  leave(127);
}

/* A descriptor below 3 that is not there would be filled by the first file that Python opens, and given to containers. */
static void ensure_stdio(void) {
  for (int fd = 0; fd < 3; fd++)
    if (SYS(fcntl, fd, F_GETFD) < 0 && SYS(openat, AT_FDCWD, "/dev/null", O_RDWR) != fd)
      refuse("", "/dev/null", ": cannot be opened");
}

static int join(char *to, const char *dir, const char *name, const char *rest) {
  size a = length_of(dir), b = length_of(name), c = length_of(rest);
  if (a + b + c + 3 > PATH_MAX)
    return -1;
  copy(to, dir, a);
  to[a] = '/';
  copy(to + a + 1, name, b);
  copy(to + a + 1 + b, rest, c + 1);
  return 0;
}

static void cut_last(char *path) {
  size end = length_of(path);
  while (end && path[--end] != '/')
    continue;
  path[end] = 0;
}

/* The path of the file itself, behind every symbolic link: an interpreter started through a venv's link would look for
 * pyvenv.cfg, and trust it.
 */
static int resolve(char *path) {
  char link[] = "/proc/self/fd/0123456789";
  long fd = SYS(openat, AT_FDCWD, path, O_PATH | O_CLOEXEC);
  if (fd < 0)
    return -1;
  size end = sizeof("/proc/self/fd/") - 1;
  for (long power = 1000000000; power; power /= 10)
    if (fd >= power || power == 1)
      link[end++] = (char)('0' + fd / power % 10);
  link[end] = 0;
  long n = SYS(readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
  SYS(close, fd);
  path[n < 0 ? 0 : n] = 0;
  return n < 0 ? -1 : 0;
}

static void find_python(char *python, const char *bin) {
  if (!join(python, bin, PYTHON_NAME, "") && !resolve(python) && !SYS(faccessat, AT_FDCWD, python, X_OK))
    return;
  copy(python, PYTHON_PATH, sizeof(PYTHON_PATH));
  if (SYS(faccessat, AT_FDCWD, python, X_OK) < 0)
    refuse("python: ", PYTHON_PATH, ": not found: reinstall pyrunc for the python that you have");
}

static void find_package(char *main, const char *prefix) {
  for (unsigned int i = 0; i < 2 * sizeof(places) / sizeof(places[0]); i++)
    if (!join(main, prefix, places[i / 2], i % 2 ? "/pyrunc/__main__.py" : "/pyrunc/start.pyc") &&
        !SYS(faccessat, AT_FDCWD, main, 4 /* R_OK */))
      return;
  refuse("package: not found below ", prefix, ": reinstall pyrunc");
}

/* `before`, and the path of our own file. */
static int own_path(char *path, const char *before) {
  size length = length_of(before);
  copy(path, before, length);
  long n = SYS(readlinkat, AT_FDCWD, "/proc/self/exe", path + length, PATH_MAX - 1 - length);
  path[n > 0 ? length + (size)n : 0] = 0;
  return n > 0;
}

static char *put_hex(char *to, unsigned long number) {
  for (int digit = HEX_DIGITS; digit-- > 0;)
    *to++ = "0123456789abcdef"[number >> 4 * digit & 15];
  return to;
}

static int begins_with(const char *text, const char *word) {
  while (*word)
    if (*text++ != *word++)
      return 0;
  return 1;
}

/* The value of a variable, or NULL; `name` ends in "=". */
static const char *value_of(const char *const *env, const char *name) {
  for (; *env; env++)
    if (begins_with(*env, name))
      return *env + length_of(name);
  return 0;
}

/* Root of a user namespace may be anybody outside of it. */
static int is_hosts_root(void) {
  static const char all[] = "         0          0 4294967295\n";
  char map[sizeof(all)];
  long fd = SYS(openat, AT_FDCWD, "/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
  long n = fd < 0 ? -1 : SYS(read, fd, map, sizeof(map));
  SYS(close, fd);
  return n == sizeof(all) - 1 && begins_with(map, all);
}

/* Go on from the snapshot below a directory of ours, or return with the word that tells Python where it belongs. Its name is
 * that of our own file, as the kernel has it.
 */
static void go_on(char *word, const char *above, const struct stat *own, const long *stack) {
  static const char below[] = "/pyrunc", before[] = ".snapshot-";
  char name[sizeof(before) + 2 * HEX_DIGITS + 1], *end = name + sizeof(before) - 1;
  copy(name, before, sizeof(before) - 1);
  end = put_hex(end, own->st_dev);
  *end++ = '-';
  *put_hex(end, own->st_ino) = 0;
  char *dir = word + sizeof(word_before) - 1;
  size length = length_of(above);
  copy(word, word_before, sizeof(word_before) - 1);
  copy(dir, above, length);
  copy(dir + length, below, sizeof(below));
  resume(dir, name, stack);
  dir[length + sizeof(below) - 1] = '/';
  copy(dir + length + sizeof(below), name, length_of(name) + 1);
}

/* Go on from the snapshot of this installation, or return 1 with the words that tell Python where it belongs and who wants it
 * (pyrunc/_snapshot.py). The host's root has it in /run, whatever the environment says; users have it where their containers
 * are. Nobody has none: in a user namespace files of others may look as if they were nobody's (user_namespaces(7)).
 */
static int try_snapshot(char *word, char *launcher, const long *stack, const char *const *env) {
  struct stat own;
  long uid = SYS(geteuid);
  if (uid == OVERFLOW_UID || SYS(newfstatat, AT_FDCWD, "/proc/self/exe", &own, 0) < 0)
    return 0;
  const char *users = value_of(env, "XDG_RUNTIME_DIR=");
  if (users && (users[0] != '/' || length_of(users) > LONGEST_RUNTIME_DIR))
    users = 0;
  int root = uid == 0;
  if (root)
    go_on(word, "/run", &own, stack);
  if (users && !(root && is_hosts_root()))
    go_on(word, users, &own, stack);
  return (root || users) && own_path(launcher, "launcher=");
}

static void drop_heeded(const char **env) {
  const char **kept = env;
  for (; *env; env++)
    if (!begins_with(*env, heeded[0]) && !begins_with(*env, heeded[1]))
      *kept++ = *env;
  *kept = 0;
}

static long start(const long *stack, const char *const *argv, const char **env) {
  char prefix[PATH_MAX], python[PATH_MAX], main[PATH_MAX], launcher[PATH_MAX], word[PATH_MAX];
  long argc = stack[0];
  ensure_stdio();
  int snapshot = try_snapshot(word, launcher, stack, (const char *const *)env);
  if (!own_path(prefix, ""))
    refuse("", "/proc/self/exe", ": cannot be read: is /proc mounted?");
  cut_last(prefix);
  find_python(python, prefix);
  cut_last(prefix);
  find_package(main, prefix);
  size room = ((size)argc + SPARE_ARGS) * sizeof(char *);
  long at = SYS(mmap, 0, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at < 0)
    refuse("", python, ": not enough memory");
  const char **next = (const char **)at, **args = next;
  *next++ = python;
  for (unsigned int i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
    *next++ = flags[i];
  if (snapshot) {
    *next++ = "-X";
    *next++ = word;
    *next++ = "-X";
    *next++ = launcher;
  }
  *next++ = main;
  *next++ = argc ? argv[0] : "pyrunc"; /* how we were called: the name in messages */
  for (long i = 1; i < argc; i++)
    *next++ = argv[i];
  drop_heeded(env);
  SYS(execve, python, args, env);
  refuse("", python, ": cannot be executed");
}

__attribute__((used)) _Noreturn void enter(long *stack) {
  const char **argv = (const char **)(stack + 1);
  leave((int)start(stack, argv, argv + stack[0] + 1));
}
ENTRY(enter);
