#include "comm/heartbeat.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"

enum { ADDRESS_MAX = 4 };

struct contact { /* exchanged at start */
    char host[64];
    uint32_t address[ADDRESS_MAX]; /* IPv4, network order */
    uint16_t address_count, port;  /* network order */
};

struct beat { /* on the wire: all ranks run the same binary on the same kind of machine */
    uint64_t key;
    int32_t rank;
    int32_t stage;
    int64_t step;
    double stage_s, stalled_s;
    uint8_t waiting, overdue, left, ending, zero[4];
    char thread[24];
};

struct heartbeat {
    int fd, rank, size;
    uint64_t key;              /* of this job: strangers' packets are dropped */
    struct contact *contacts;  /* [size] */
};

static void own_addresses(struct contact *contact)
{
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) != 0)
        return;
    for (struct ifaddrs *i = all; i && contact->address_count < ADDRESS_MAX; i = i->ifa_next)
        if (i->ifa_addr && i->ifa_addr->sa_family == AF_INET && (i->ifa_flags & IFF_UP) &&
            !(i->ifa_flags & IFF_LOOPBACK))
            contact->address[contact->address_count++] = ((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr.s_addr;
    freeifaddrs(all);
}

static vt_status open_socket(struct heartbeat *heartbeat, struct contact *own)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    socklen_t length = sizeof address;
    heartbeat->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (heartbeat->fd < 0 || bind(heartbeat->fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        getsockname(heartbeat->fd, (struct sockaddr *)&address, &length) != 0)
        return VT_FAIL(VT_E_COMM, "watchdog: cannot open a UDP socket: %s", strerror(errno));
    own->port = address.sin_port;
    own_addresses(own);
    return VT_OK;
}

static vt_status exchange(struct heartbeat *heartbeat, struct comm *comm)
{
    int64_t *begin = calloc((size_t)comm->size + 1, sizeof *begin);
    VT_CHECK(begin);
    for (int r = 0; r <= comm->size; r++)
        begin[r] = r * (int64_t)sizeof *heartbeat->contacts;
    vt_status status = comm->all_gather(comm, heartbeat->contacts, begin, DTYPE_U8);
    free(begin);
    VT_TRY(status);
    return comm->broadcast(comm, &heartbeat->key, sizeof heartbeat->key, 0);
}

vt_status heartbeat_open(struct comm *comm, struct rank_report *reports, struct heartbeat **out)
{
    vt_status status = VT_OK;
    struct heartbeat *heartbeat = calloc(1, sizeof *heartbeat);
    VT_CHECK(heartbeat);
    *heartbeat = (struct heartbeat){.fd = -1, .rank = comm->rank, .size = comm->size};
    heartbeat->contacts = calloc((size_t)comm->size, sizeof *heartbeat->contacts);
    VT_CHECK(heartbeat->contacts);
    struct contact *own = &heartbeat->contacts[comm->rank];
    memcpy(own->host, comm->host, sizeof own->host);
    if (getrandom(&heartbeat->key, sizeof heartbeat->key, 0) != (ssize_t)sizeof heartbeat->key)
        heartbeat->key = (uint64_t)clock_ns();
    VT_TRY_OUT(comm_agree(comm, open_socket(heartbeat, own)));
    VT_TRY_OUT(exchange(heartbeat, comm));
    for (int r = 0; r < comm->size; r++)
        memcpy(reports[r].host, heartbeat->contacts[r].host, sizeof reports[r].host);
    *out = heartbeat;
    heartbeat = NULL;
out:
    heartbeat_close(&heartbeat);
    return status;
}

void heartbeat_close(struct heartbeat **heartbeat_pointer)
{
    struct heartbeat *heartbeat = *heartbeat_pointer;
    if (!heartbeat)
        return;
    if (heartbeat->fd >= 0)
        close(heartbeat->fd);
    free(heartbeat->contacts);
    free(heartbeat);
    *heartbeat_pointer = NULL;
}

static void send_to(const struct heartbeat *heartbeat, const struct contact *peer, uint32_t address,
                    const struct beat *beat)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = peer->port, .sin_addr.s_addr = address};
    /* Lost is lost: the next one comes soon. */
    (void)!sendto(heartbeat->fd, beat, sizeof *beat, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof to);
}

static void send_to_rank(const struct heartbeat *heartbeat, int rank, const struct beat *beat)
{
    const struct contact *peer = &heartbeat->contacts[rank], *own = &heartbeat->contacts[heartbeat->rank];
    /* Same name may still be another network namespace: the addresses get it too. */
    if (memcmp(peer->host, own->host, sizeof own->host) == 0)
        send_to(heartbeat, peer, htonl(INADDR_LOOPBACK), beat);
    for (int i = 0; i < peer->address_count; i++)
        send_to(heartbeat, peer, peer->address[i], beat);
}

void heartbeat_send(struct heartbeat *heartbeat, const struct rank_report *own)
{
    struct beat beat = {.key = heartbeat->key, .rank = heartbeat->rank, .stage = (int32_t)own->stage, .step = own->step,
                        .stage_s = own->stage_s, .stalled_s = own->stalled_s, .waiting = own->waiting,
                        .overdue = own->overdue, .left = own->left, .ending = own->ending};
    memcpy(beat.thread, own->thread, sizeof beat.thread);
    int last = heartbeat->rank < HEARTBEAT_HUBS ? heartbeat->size : HEARTBEAT_HUBS;
    for (int r = 0; r < last && r < heartbeat->size; r++)
        if (r != heartbeat->rank)
            send_to_rank(heartbeat, r, &beat);
}

static void take_in(const struct heartbeat *heartbeat, const struct beat *beat, struct rank_report *reports,
                    int64_t *heard_ns)
{
    if (beat->key != heartbeat->key || beat->rank < 0 || beat->rank >= heartbeat->size ||
        beat->rank == heartbeat->rank || beat->stage < 0 || beat->stage >= STAGE_COUNT)
        return;
    struct rank_report *report = &reports[beat->rank];
    report->heard = true;
    report->left = beat->left;
    report->ending = beat->ending;
    report->waiting = beat->waiting;
    report->overdue = beat->overdue;
    report->step = beat->step;
    report->stage = (enum stage)beat->stage;
    report->stage_s = beat->stage_s;
    report->stalled_s = beat->stalled_s;
    memcpy(report->thread, beat->thread, sizeof report->thread);
    report->thread[sizeof report->thread - 1] = 0;
    heard_ns[beat->rank] = clock_ns();
}

void heartbeat_receive(struct heartbeat *heartbeat, int timeout_ms, struct rank_report *reports, int64_t *heard_ns)
{
    struct pollfd wait = {.fd = heartbeat->fd, .events = POLLIN};
    struct beat beat;
    poll(&wait, 1, timeout_ms);
    /* Bounded, so that a flood cannot keep the thread from its own clock. */
    for (int i = 0; i < 16 + 16 * heartbeat->size; i++) {
        ssize_t n = recv(heartbeat->fd, &beat, sizeof beat, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n == (ssize_t)sizeof beat)
            take_in(heartbeat, &beat, reports, heard_ns);
    }
}
