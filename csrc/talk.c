/* The conversation with the parent: questions, answers, and the descriptors that go along. */
#include "executor.h"

enum { GO_TIMEOUT = 5 /* seconds */ };

long send_fd(int via, const void *data, size length, int fd) {
  struct iovec part = {(void *)data, length};
  struct control control = {CONTROL_LENGTH(1), SOL_SOCKET, SCM_RIGHTS, {fd}};
  struct message message = {.parts = &part, .part_count = 1};
  if (fd >= 0) {
    message.control = &control;
    message.control_length = CONTROL_LENGTH(1);
  }
  long sent = SYS(sendmsg, via, &message, MSG_NOSIGNAL);
  return sent < 0 ? sent : (size)sent == length ? 0 : -EIO;
}

static long receive(int via, struct talk_answer *answer, struct control *control) {
  struct iovec part = {answer, sizeof(*answer)};
  struct message message = {.parts = &part, .part_count = 1, .control = control};
  long got;
  control->length = 0;
  do {
    message.control_length = sizeof(*control);
    got = SYS(recvmsg, via, &message, MSG_CMSG_CLOEXEC);
  } while (is_error(got, EINTR));
  if (!message.control_length || control->level != SOL_SOCKET || control->type != SCM_RIGHTS)
    control->length = CONTROL_LENGTH(0);
  return got == sizeof(*answer) && message.flags & MSG_CTRUNC ? -EPROTO : got;
}

/* Ask, wait, and fill the slots from `out` on. An answer with an errno means that the parent knows what is wrong. */
long ask(struct run *run, const struct plan_record *op) {
  struct talk_message question = {.kind = TALK_RPC, .op = run->op, .value = (int)op->a[0]};
  struct talk_answer answer;
  struct control control;
  int fd = op->a[1] < PLAN_SLOTS ? run->slot[op->a[1]] : -1;
  if (send_fd(run->slot[SLOT_TALK], &question, sizeof(question), fd) < 0)
    leave(1);
  long got = receive(run->slot[SLOT_TALK], &answer, &control);
  if (!got || is_error(got, ECONNRESET))
    leave(1);
  if (got == sizeof(answer) && answer.error)
    leave(1);
  if (got != sizeof(answer) || control.length != CONTROL_LENGTH(op->a[2]))
    return got < 0 ? got : -EPROTO;
  for (unsigned int i = 0; i < op->a[2]; i++) {
    close_fd(run->slot[op->out + i]);
    run->slot[op->out + i] = control.fds[i];
  }
  return 0;
}

/* A peer that neither speaks nor leaves must not keep others from starting the container. */
static int says_go(int peer) {
  struct __kernel_timespec limit = {GO_TIMEOUT, 0};
  struct pollfd poll = {peer, POLLIN, 0};
  struct talk_answer answer;
  struct control control;
  if (SYS(ppoll, &poll, 1, &limit, 0, 0) != 1)
    return 0;
  long got = receive(peer, &answer, &control);
  for (unsigned int i = 0; control.length > CONTROL_LENGTH(i); i++)
    SYS(close, control.fds[i]);
  return got == sizeof(answer) && !answer.error;
}

long wait_for_go(struct run *run, int listener) {
  for (;;) {
    long peer = SYS(accept4, listener, 0, 0, SOCK_CLOEXEC);
    if (is_error(peer, EINTR) || is_error(peer, ECONNABORTED))
      continue;
    if (peer < 0)
      return peer;
    if (says_go((int)peer)) {
      long moved = SYS(dup3, peer, run->slot[SLOT_TALK], O_CLOEXEC);
      SYS(close, peer);
      return moved < 0 ? moved : 0;
    }
    SYS(close, peer);
  }
}
