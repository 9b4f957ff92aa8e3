//! The vocabulary between gateways and control.
