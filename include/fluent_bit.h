/* Everything the bindings are made from. */
#include "filter.h"
#include "output.h"
