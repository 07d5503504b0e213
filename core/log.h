/* One log for the process: lines to a sink, which the server's main sets and nobody else.
 * Without a sink (tests, the simulator) nothing is logged. Any thread. */
#ifndef ANNEAL_CORE_LOG_H
#define ANNEAL_CORE_LOG_H

enum log_level { LOG_DEBUG, LOG_VERBOSE, LOG_NOTICE, LOG_WARNING };

/* Before any thread. The sink gets one line without its end, in the caller's thread; it must be
 * thread-safe, and is all that may block. NULL: none. */
void log_to(void (*sink)(enum log_level level, const char *line), enum log_level least);
void log_level_set(enum log_level least);
/* Longer lines are cut. What would end a line or drive a terminal becomes '?': names and addresses
 * in a line come from clients and peers. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
