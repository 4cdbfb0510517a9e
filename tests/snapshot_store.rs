//! The snapshot store, from the outside: what goes in comes out, by tenant, and damage is told by its name.

mod snapshot_store {
    mod damage;
    mod memory;
    mod reading;
    mod retention;
    mod writing;
}
