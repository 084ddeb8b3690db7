from gateway.base.context cimport Context, ModelEntry, TargetEntry

cpdef TargetEntry choose(Context ctx)
cdef TargetEntry _of_model(ModelEntry model, frozenset excluded)
