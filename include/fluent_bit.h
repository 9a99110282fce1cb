/* Everything the bindings are made from. */
#include "engine.h"
#include "filter.h"
#include "output.h"
