mod demo;
mod reference;
