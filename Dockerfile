FROM node:22-slim AS build
WORKDIR /app
COPY . .
RUN npm ci --ignore-scripts && npm pack

# Installed as anybody would: from the tarball, which brings its peers.
FROM node:22-slim
ENV NODE_ENV=production HOST=0.0.0.0 PORT=8765
WORKDIR /app
COPY --from=build /app/nestjs-ws-gateway-*.tgz ./
RUN npm install --ignore-scripts ./nestjs-ws-gateway-*.tgz @nestjs/platform-express@12 jose@6 && npm cache clean --force
USER node
EXPOSE 8765
CMD ["node_modules/.bin/ws-gateway"]
