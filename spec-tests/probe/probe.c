/*
 * probe: the program that spec-tests runs as a container's process (and as a hook).
 *
 * Its argv is a list of commands, each with a fixed number of arguments, run in order:
 *
 *   probe report cat /etc/x write /y hello exit 3
 *
 * What they find is one JSON object on one line, written to standard output (or to the file named by `out`)
 * at the end, or before `hold`, `exit`, `die`, `exec`: {"report": {...}, "did": [{"cmd": .., "args": [..], ..}]}.
 * `quiet` drops it. An "err" of a step is the errno's name, or "" when the call succeeded.
 * Static and without any file of its own, so that it runs in any root file system and in any namespace.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* ---- a JSON writer ---- */

static char *text;
static size_t used, room;
static bool comma; /* the next element needs one before it */

static void put_bytes(const char *bytes, size_t n)
{
	if (used + n + 1 > room) {
		room = (used + n + 1) * 2;
		text = realloc(text, room);
		if (!text)
			_exit(125);
	}
	memcpy(text + used, bytes, n);
	used += n;
}

static void put(const char *s) { put_bytes(s, strlen(s)); }

/* Bytes above 0x7f become U+00XX, so that any byte string survives: the reader decodes latin-1. */
static void put_string(const char *s, size_t n)
{
	put("\"");
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];
		char escaped[8];
		if (c == '"' || c == '\\')
			snprintf(escaped, sizeof escaped, "\\%c", c);
		else if (c < 0x20 || c > 0x7e)
			snprintf(escaped, sizeof escaped, "\\u%04x", c);
		else
			snprintf(escaped, sizeof escaped, "%c", c);
		put(escaped);
	}
	put("\"");
}

static void separate(void)
{
	if (comma)
		put(",");
	comma = true;
}

static void key(const char *name)
{
	separate();
	put_string(name, strlen(name));
	put(":");
	comma = false;
}

static void open_(const char *bracket)
{
	separate();
	put(bracket);
	comma = false;
}

static void close_(const char *bracket)
{
	put(bracket);
	comma = true;
}

static void str(const char *s)
{
	separate();
	if (s)
		put_string(s, strlen(s));
	else
		put("null");
}

static void num(long long value)
{
	char digits[32];
	separate();
	snprintf(digits, sizeof digits, "%lld", value);
	put(digits);
}

static void unum(unsigned long long value)
{
	char digits[32];
	separate();
	snprintf(digits, sizeof digits, "%llu", value);
	put(digits);
}

static void key_num(const char *name, long long value) { key(name); num(value); }
static void key_str(const char *name, const char *value) { key(name); str(value); }
static void key_err(int error) { key_str("err", error ? strerrorname_np(error) : ""); }

/* ---- pieces of the report ---- */

static void list(const char *name, char *const *items)
{
	key(name);
	open_("[");
	for (; *items; items++)
		str(*items);
	close_("]");
}

/* The content of a file, or null with its error: at most 1 MiB, for /dev/zero has no end. */
static int slurp(const char *path)
{
	char piece[4096];
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	char *all = NULL;
	size_t n = 0;
	int error = 0;

	if (fd < 0) {
		error = errno;
		key_str("text", NULL);
		return error;
	}
	while (n < (1 << 20)) {
		ssize_t got = read(fd, piece, sizeof piece);
		if (got < 0)
			error = errno;
		if (got <= 0)
			break;
		all = realloc(all, n + (size_t)got);
		if (!all)
			_exit(125);
		memcpy(all + n, piece, (size_t)got);
		n += (size_t)got;
	}
	close(fd);
	key("text");
	separate();
	put_string(all ? all : "", n);
	free(all);
	return error;
}

static void file(const char *name, const char *path)
{
	key(name);
	open_("{");
	key_err(slurp(path));
	close_("}");
}

static void link_of(const char *name, const char *path)
{
	char target[4096];
	ssize_t n = readlink(path, target, sizeof target - 1);
	key(name);
	if (n < 0) {
		str(NULL);
		return;
	}
	separate();
	put_string(target, (size_t)n);
}

static void names_in(const char *path)
{
	DIR *dir = opendir(path);
	int error = dir ? 0 : errno;
	struct dirent *entry;

	key("names");
	open_("[");
	while (dir && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			str(entry->d_name);
	close_("]");
	if (dir)
		closedir(dir);
	key_err(error);
}

/* Every open fd by trying each number, so that it works without /proc, and opens none itself. */
static void open_fds(void)
{
	key("fds");
	open_("{");
	for (int fd = 0; fd < 1024; fd++) {
		struct stat st;
		char path[64], number[16], target[4096];
		ssize_t n;
		if (fcntl(fd, F_GETFD) < 0)
			continue;
		snprintf(number, sizeof number, "%d", fd);
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		n = readlink(path, target, sizeof target - 1);
		key(number);
		open_("{");
		key("link");
		separate();
		put_string(n < 0 ? "?" : target, n < 0 ? 1 : (size_t)n);
		if (fstat(fd, &st) == 0) {
			key_num("uid", st.st_uid);
			key_num("gid", st.st_gid);
			key_num("ino", (long long)st.st_ino);
			key_num("mode", st.st_mode);
			key_num("major", major(st.st_rdev));
			key_num("minor", minor(st.st_rdev));
		}
		key_num("flags", fcntl(fd, F_GETFL));
		close_("}");
	}
	close_("}");
}

static void identity(void)
{
	uid_t ru, eu, su;
	gid_t rg, eg, sg, groups[65536 / 16];
	int n = getgroups(sizeof groups / sizeof *groups, groups);
	mode_t mask = umask(0);

	umask(mask);
	getresuid(&ru, &eu, &su);
	getresgid(&rg, &eg, &sg);
	key("uids"); open_("["); num(ru); num(eu); num(su); close_("]");
	key("gids"); open_("["); num(rg); num(eg); num(sg); close_("]");
	key("groups");
	open_("[");
	for (int i = 0; i < n; i++)
		num(groups[i]);
	close_("]");
	key_num("umask", mask);
	key_num("pid", getpid());
	key_num("ppid", getppid());
	key_num("sid", getsid(0));
	key_num("pgid", getpgrp());
	key_num("no_new_privs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	key_num("dumpable", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
	key_num("personality", personality(0xffffffff));
	{
		int mode = -1;
		unsigned long nodes[16] = {0};
		if (syscall(SYS_get_mempolicy, &mode, nodes, 8 * sizeof nodes, 0, 0) == 0) {
			key_num("mempolicy", mode);
			key_num("memnodes", (long long)nodes[0]);
		}
	}
}

static void limits(void)
{
	static const char *const names[] = {"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE",
		"MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"};
	key("rlimits");
	open_("{");
	for (int i = 0; i < (int)(sizeof names / sizeof *names); i++) {
		struct rlimit limit;
		if (getrlimit((__rlimit_resource_t)i, &limit))
			continue;
		key(names[i]);
		open_("[");
		unum(limit.rlim_cur);
		unum(limit.rlim_max);
		close_("]");
	}
	close_("}");
}

struct scheduling { /* struct sched_attr, as the kernel had it first */
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static void scheduling(void)
{
	struct scheduling a = {.size = sizeof a};
	cpu_set_t cpus;

	key("sched");
	open_("{");
	if (syscall(SYS_sched_getattr, 0, &a, sizeof a, 0) == 0) {
		key_num("policy", a.policy);
		key_num("flags", (long long)a.flags);
		key_num("nice", a.nice);
		key_num("priority", a.priority);
		key_num("runtime", (long long)a.runtime);
		key_num("deadline", (long long)a.deadline);
		key_num("period", (long long)a.period);
	}
	close_("}");
	key_num("ioprio", syscall(SYS_ioprio_get, 1 /* IOPRIO_WHO_PROCESS */, 0));
	key_num("ioprio_group", syscall(SYS_ioprio_get, 2 /* IOPRIO_WHO_PGRP */, 0));
	key("cpus");
	open_("[");
	if (sched_getaffinity(0, sizeof cpus, &cpus) == 0)
		for (int i = 0; i < CPU_SETSIZE; i++)
			if (CPU_ISSET(i, &cpus))
				num(i);
	close_("]");
}

static void terminal(void)
{
	key("tty");
	open_("[");
	for (int fd = 0; fd < 3; fd++) {
		struct winsize size = {0, 0, 0, 0};
		open_("{");
		key_num("isatty", isatty(fd));
		key_str("name", ttyname(fd));
		if (ioctl(fd, TIOCGWINSZ, &size) == 0) {
			key_num("rows", size.ws_row);
			key_num("cols", size.ws_col);
		}
		close_("}");
	}
	close_("]");
	int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	key_num("controlling_tty", fd >= 0);
	if (fd >= 0)
		close(fd);
}

static void clocks(void)
{
	static const struct { const char *name; clockid_t id; } all[] = {
		{"monotonic", CLOCK_MONOTONIC}, {"boottime", CLOCK_BOOTTIME}};
	key("clocks");
	open_("{");
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		struct timespec t;
		clock_gettime(all[i].id, &t);
		key_num(all[i].name, (long long)t.tv_sec);
	}
	close_("}");
}

static void ambient(void)
{
	key("ambient");
	open_("[");
	for (int cap = 0; cap < 64; cap++)
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0) == 1)
			num(cap);
	close_("]");
}

static void namespaces(void)
{
	static const char *const names[] = {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"};
	key("ns");
	open_("{");
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		char path[64];
		snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
		link_of(names[i], path);
	}
	close_("}");
}

static void report(char *const *argv)
{
	struct utsname uts;
	char cwd[4096];

	open_fds(); /* first: what follows opens files */
	list("argv", argv);
	list("env", environ);
	key_str("cwd", syscall(SYS_getcwd, cwd, sizeof cwd) > 0 ? cwd : NULL);
	identity();
	ambient();
	limits();
	scheduling();
	uname(&uts);
	key_str("hostname", uts.nodename);
	key_str("domainname", uts.domainname);
	key_str("machine", uts.machine);
	clocks();
	terminal();
	namespaces();
	file("status", "/proc/self/status");
	file("stat", "/proc/self/stat");
	file("mountinfo", "/proc/self/mountinfo");
	file("cgroup", "/proc/self/cgroup");
	file("oom_score_adj", "/proc/self/oom_score_adj");
	file("uid_map", "/proc/self/uid_map");
	file("gid_map", "/proc/self/gid_map");
	file("setgroups", "/proc/self/setgroups");
	file("timens_offsets", "/proc/self/timens_offsets");
}

/* ---- commands ---- */

static const char *out_path; /* where the JSON goes; NULL: standard output */
static bool quiet;

static void write_all(int fd, const char *bytes, size_t n)
{
	while (n) {
		ssize_t done = write(fd, bytes, n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			_exit(126);
		bytes += done;
		n -= (size_t)done;
	}
}

/* One write of the whole line with O_APPEND: several hooks may share a file. */
static void flush(void)
{
	int fd = 1;

	if (quiet || !text)
		return;
	if (out_path)
		fd = open(out_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (fd < 0)
		_exit(124);
	put("]}\n");
	write_all(fd, text, used);
	if (out_path)
		close(fd);
	quiet = true;
}

static int number_of(const char *name)
{
	static const struct { const char *name; int number; } all[] = {{"HUP", SIGHUP}, {"INT", SIGINT},
		{"QUIT", SIGQUIT}, {"TERM", SIGTERM}, {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"WINCH", SIGWINCH},
		{"KILL", SIGKILL}, {"SEGV", SIGSEGV}, {"ABRT", SIGABRT}, {"CONT", SIGCONT}};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (!strcmp(all[i].name, name))
			return all[i].number;
	return atoi(name);
}

static const char *trap_path;

static void on_signal(int number)
{
	char line[16];
	int fd = open(trap_path, O_WRONLY | O_CREAT | O_APPEND, 0666);
	int n = snprintf(line, sizeof line, "%d\n", number);
	if (fd >= 0 && write(fd, line, (size_t)n) != n)
		_exit(126);
	close(fd);
}

static int do_write(const char *path, const char *what, int flags)
{
	int fd = open(path, flags | O_CLOEXEC | O_NOCTTY, 0666);
	int error;
	if (fd < 0)
		return errno;
	error = write(fd, what, strlen(what)) < 0 ? errno : 0;
	if (close(fd) && !error)
		error = errno;
	return error;
}

static int do_open(const char *path, const char *how)
{
	int flags = strcmp(how, "rw") == 0 ? O_RDWR : strcmp(how, "w") == 0 ? O_WRONLY : O_RDONLY;
	int fd = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	char byte;
	if (fd < 0)
		return errno;
	key_num("read", flags == O_WRONLY ? -1 : read(fd, &byte, 1));
	close(fd);
	return 0;
}

static int do_stat(const char *path)
{
	static const struct { mode_t bits; const char *name; } kinds[] = {{S_IFREG, "file"}, {S_IFDIR, "dir"},
		{S_IFLNK, "link"}, {S_IFCHR, "char"}, {S_IFBLK, "block"}, {S_IFIFO, "fifo"}, {S_IFSOCK, "socket"}};
	struct stat st;

	if (lstat(path, &st))
		return errno;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if ((st.st_mode & S_IFMT) == kinds[i].bits)
			key_str("type", kinds[i].name);
	key_num("mode", st.st_mode & 07777);
	key_num("uid", st.st_uid);
	key_num("gid", st.st_gid);
	key_num("size", st.st_size);
	key_num("dev", (long long)st.st_dev);
	key_num("ino", (long long)st.st_ino);
	key_num("major", major(st.st_rdev));
	key_num("minor", minor(st.st_rdev));
	link_of("target", path);
	return 0;
}

static int do_statvfs(const char *path)
{
	struct statvfs st;
	if (statvfs(path, &st))
		return errno;
	key_num("flags", (long long)st.f_flag);
	key_num("bytes", (long long)(st.f_blocks * st.f_frsize));
	return 0;
}

static int do_mknod(const char *path, const char *kind, const char *maj, const char *min)
{
	mode_t bits = *kind == 'b' ? S_IFBLK : *kind == 'p' ? S_IFIFO : S_IFCHR;
	return mknod(path, bits | 0666, makedev((unsigned)atoi(maj), (unsigned)atoi(min))) ? errno : 0;
}

/* A child that stays in the same process group and session: what a shared pid namespace must not leak. */
static int do_spawn(void)
{
	pid_t child = fork();
	if (child < 0)
		return errno;
	if (child == 0)
		for (;;)
			pause();
	key_num("child", child);
	return 0;
}

static int do_stdin(void)
{
	char piece[65536];
	size_t n = 0;
	ssize_t got;
	while (n < sizeof piece && (got = read(0, piece + n, sizeof piece - n)) > 0)
		n += (size_t)got;
	key("text");
	separate();
	put_string(piece, n);
	return 0;
}

/* In a user namespace below our own, what is mounted over /proc is locked: is there a bare procfs to be had? */
static int do_nested_proc(const char *path)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID))
			_exit(255);
		if ((child = fork()) == 0)
			_exit(mount("proc", path, "proc", 0, NULL) ? errno : 0);
		waitpid(child, &status, 0);
		_exit(WEXITSTATUS(status));
	}
	waitpid(child, &status, 0);
	return WEXITSTATUS(status);
}

static int do_burn(const char *milliseconds)
{
	struct timespec now;
	clock_t ticks = (clock_t)(atol(milliseconds) * (CLOCKS_PER_SEC / 1000));
	while (clock() < ticks)
		clock_gettime(CLOCK_REALTIME, &now);
	return 0;
}

static int do_nap(const char *milliseconds)
{
	long ms = atol(milliseconds);
	struct timespec t = {ms / 1000, (ms % 1000) * 1000000L};
	nanosleep(&t, NULL);
	return 0;
}

static int do_alloc(const char *mib)
{
	size_t bytes = (size_t)atol(mib) << 20;
	char *block = malloc(bytes);
	if (!block)
		return errno;
	memset(block, 1, bytes);
	key_num("byte", block[bytes - 1]);
	return 0;
}

static int do_socket(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	return fd < 0 ? errno : (close(fd), 0);
}

static void step(const char *name, int argc, char **argv)
{
	int error = 0;

	open_("{");
	key_str("cmd", name);
	key("args");
	open_("[");
	for (int i = 0; i < argc; i++)
		str(argv[i]);
	close_("]");
	errno = 0;
	if (!strcmp(name, "cat")) error = slurp(argv[0]);
	else if (!strcmp(name, "ls")) { names_in(argv[0]); goto done; }
	else if (!strcmp(name, "stat")) error = do_stat(argv[0]);
	else if (!strcmp(name, "statvfs")) error = do_statvfs(argv[0]);
	else if (!strcmp(name, "open")) error = do_open(argv[0], argv[1]);
	else if (!strcmp(name, "write")) error = do_write(argv[0], argv[1], O_WRONLY | O_CREAT);
	else if (!strcmp(name, "set")) error = do_write(argv[0], argv[1], O_WRONLY);
	else if (!strcmp(name, "append")) error = do_write(argv[0], argv[1], O_WRONLY | O_CREAT | O_APPEND);
	else if (!strcmp(name, "mkdir")) error = mkdir(argv[0], 0777) ? errno : 0;
	else if (!strcmp(name, "rm")) error = remove(argv[0]) ? errno : 0;
	else if (!strcmp(name, "chmod")) error = chmod(argv[0], (mode_t)strtol(argv[1], NULL, 8)) ? errno : 0;
	else if (!strcmp(name, "umount")) error = umount2(argv[0], 0) ? errno : 0;
	else if (!strcmp(name, "mount")) error = mount(argv[1], argv[2], argv[0], 0, NULL) ? errno : 0;
	else if (!strcmp(name, "mknod")) error = do_mknod(argv[0], argv[1], argv[2], argv[3]);
	else if (!strcmp(name, "access")) error = access(argv[0], X_OK) ? errno : 0;
	else if (!strcmp(name, "syscall")) error = syscall(strtol(argv[0], NULL, 10), "/x", 0, 0, 0, 0, 0) < 0 ? errno : 0;
	else if (!strcmp(name, "chroot")) error = chroot(argv[0]) ? errno : 0;
	else if (!strcmp(name, "spawn")) error = do_spawn();
	else if (!strcmp(name, "stdin")) error = do_stdin();
	else if (!strcmp(name, "burn")) error = do_burn(argv[0]);
	else if (!strcmp(name, "nap")) error = do_nap(argv[0]);
	else if (!strcmp(name, "alloc")) error = do_alloc(argv[0]);
	else if (!strcmp(name, "socket")) error = do_socket();
	else if (!strcmp(name, "nested-proc")) error = do_nested_proc(argv[0]);
	key_err(error);
done:
	close_("}");
}

struct command { const char *name; int args; };

static const struct command commands[] = {{"report", 0}, {"cat", 1}, {"ls", 1}, {"stat", 1}, {"statvfs", 1},
	{"open", 2}, {"write", 2}, {"set", 2}, {"append", 2}, {"mkdir", 1}, {"rm", 1}, {"chmod", 2}, {"umount", 1},
	{"mount", 3}, {"mknod", 4}, {"access", 1}, {"chroot", 1}, {"spawn", 0}, {"stdin", 0}, {"burn", 1}, {"nap", 1},
	{"alloc", 1}, {"socket", 0}, {"nested-proc", 1}, {"out", 1}, {"quiet", 0}, {"say", 1}, {"complain", 1}, {"trap", 2}, {"exit", 1},
	{"die", 1}, {"hold", 0}, {"pause", 0}, {"stop-on", 1}, {"exec", -1}, {"syscall", 1}, {NULL, 0}};

static void stop(int number) { _exit(100 + number); }

/* Commands that act on the program itself; false: it is a step with a result. */
static bool control(const char *name, char **args)
{
	if (!strcmp(name, "out")) out_path = args[0];
	else if (!strcmp(name, "quiet")) quiet = true;
	else if (!strcmp(name, "say")) { write_all(1, args[0], strlen(args[0])); write_all(1, "\n", 1); }
	else if (!strcmp(name, "complain")) { write_all(2, args[0], strlen(args[0])); write_all(2, "\n", 1); }
	else if (!strcmp(name, "trap")) { trap_path = args[1]; signal(number_of(args[0]), on_signal); }
	else if (!strcmp(name, "stop-on")) signal(number_of(args[0]), stop);
	else if (!strcmp(name, "exit")) { flush(); _exit(atoi(args[0])); }
	else if (!strcmp(name, "die")) { flush(); signal(number_of(args[0]), SIG_DFL); raise(number_of(args[0])); _exit(99); }
	else if (!strcmp(name, "hold")) { flush(); for (;;) pause(); }
	else if (!strcmp(name, "pause")) { flush(); pause(); }
	else if (!strcmp(name, "exec")) { flush(); execv(args[0], args); _exit(127); }
	else return false;
	return true;
}

int main(int argc, char **argv)
{
	bool reported = false;

	put("{");
	for (int i = 1; i < argc && !reported; i++)
		if (!strcmp(argv[i], "report")) { /* first, so that no other command's traces are in it */
			key("report");
			open_("{");
			report(argv);
			close_("}");
			reported = true;
		}
	key("did");
	open_("[");
	for (int i = 1; i < argc;) {
		const struct command *c = commands;
		const char *name = argv[i++];
		while (c->name && strcmp(c->name, name))
			c++;
		if (!c->name || i + c->args > argc) {
			dprintf(2, "probe: bad command: %s\n", name);
			return 123;
		}
		if (strcmp(name, "report") && !control(name, argv + i))
			step(name, c->args, argv + i);
		i += c->args;
	}
	flush();
	return 0;
}
