/* Everything the bindings are made from. */
#include "engine.h"
#include "filter.h"
#include "input.h"
#include "output.h"
