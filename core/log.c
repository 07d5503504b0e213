#include "core/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

static void (*the_sink)(enum log_level level, const char *line);
static atomic_int the_least = LOG_NOTICE;

void log_to(void (*sink)(enum log_level level, const char *line), enum log_level least) {
    the_sink = sink;
    log_level_set(least);
}

void log_level_set(enum log_level least) { atomic_store(&the_least, (int)least); }

void log_line(enum log_level level, const char *format, ...) {
    if (!the_sink || (int)level < atomic_load(&the_least)) return;
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    for (char *at = line; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 127) *at = '?';
    the_sink(level, line);
}
