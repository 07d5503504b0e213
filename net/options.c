#include "net/options.h"

const struct config_option option_table[OPTION_COUNT] = {
#define X(name, symbol, kind, flags, initial, least, most, choices, help) \
    {name, kind, flags, initial, least, most, choices, help},
    OPTIONS(X)
#undef X
};
