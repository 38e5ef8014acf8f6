#include "train/signals.h"

#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"

static volatile sig_atomic_t received;
static bool stop_file_seen;

static void remember(int number) { received = number; }

void signals_install(void)
{
    struct sigaction action = {.sa_handler = remember, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGUSR2, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
}

bool signals_stop_requested(const char *stop_file)
{
    static double next_look_ms;
    if (received)
        return true;
    if (!*stop_file || clock_ms() < next_look_ms)
        return stop_file_seen;
    next_look_ms = clock_ms() + 1000;
    stop_file_seen = file_exists(stop_file);
    return stop_file_seen;
}

const char *signals_stop_reason(void)
{
    switch (received) {
    case 0: return stop_file_seen ? "stop file" : NULL;
    case SIGUSR2: return "SIGUSR2";
    case SIGTERM: return "SIGTERM";
    case SIGHUP: return "SIGHUP";
    }
    return "signal";
}
