#include "persist/store_open.h"
enum status store_s3_open(struct bytes bucket, struct bytes prefix, const struct store_settings *settings, struct store *store,
                          struct buf *error) { (void)bucket; (void)prefix; (void)settings; (void)store; buf_printf(error, "later"); return STATUS_ERR_INVALID; }
