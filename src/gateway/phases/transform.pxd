from _fastpath.chat cimport Reading
from gateway.base.context cimport Context, TargetEntry

cpdef build(Context ctx)
cpdef read_trace(Context ctx)
